-- The tables that headscale v0.29.2 makes for itself in an empty PostgreSQL schema, for a fleet that is made where no binary is at hand.
-- A contract test compares this page with the catalogue that the binary leaves. The rows of `migrations` tell a binary that all is done.
create table headscale.api_keys (
    id bigserial primary key,
    prefix text,
    hash bytea,
    created_at timestamptz,
    expiration timestamptz,
    last_seen timestamptz
);
create table headscale.database_versions (id bigserial primary key, version text not null, updated_at timestamptz);
create table headscale.migrations (id character varying(255) primary key);
create table headscale.policies (
    id bigserial primary key,
    created_at timestamptz,
    updated_at timestamptz,
    deleted_at timestamptz,
    data text
);
create table headscale.users (
    id bigserial primary key,
    created_at timestamptz,
    updated_at timestamptz,
    deleted_at timestamptz,
    name text,
    display_name text,
    email text,
    provider_identifier text,
    provider text,
    profile_pic_url text
);
create table headscale.pre_auth_keys (
    id bigserial primary key,
    key text,
    prefix text,
    hash bytea,
    user_id bigint constraint fk_pre_auth_keys_user references headscale.users (id) on delete set null,
    reusable boolean,
    ephemeral boolean default false,
    used boolean default false,
    tags text,
    created_at timestamptz,
    expiration timestamptz
);
create table headscale.nodes (
    id bigserial primary key,
    machine_key text,
    node_key text,
    disco_key text,
    endpoints text,
    host_info text,
    ipv4 text,
    ipv6 text,
    hostname text,
    given_name character varying(63),
    user_id bigint constraint fk_nodes_user references headscale.users (id) on delete cascade,
    register_method text,
    tags text,
    auth_key_id bigint constraint fk_nodes_auth_key references headscale.pre_auth_keys (id),
    expiry timestamptz,
    last_seen timestamptz,
    approved_routes text,
    created_at timestamptz,
    updated_at timestamptz,
    deleted_at timestamptz
);
create unique index idx_api_keys_prefix on headscale.api_keys (prefix);
create unique index idx_name_no_provider_identifier on headscale.users (name) where provider_identifier is null;
create unique index idx_name_provider_identifier on headscale.users (name, provider_identifier);
create unique index idx_provider_identifier on headscale.users (provider_identifier) where provider_identifier is not null;
create index idx_users_deleted_at on headscale.users (deleted_at);
create index idx_policies_deleted_at on headscale.policies (deleted_at);
create unique index idx_pre_auth_keys_prefix on headscale.pre_auth_keys (prefix) where prefix is not null and prefix <> '';
insert into headscale.migrations (id) values
    ('SCHEMA_INIT'), ('202501221827'), ('202501311657'), ('202502070949'), ('202502131714'), ('202502171819'), ('202505091439'),
    ('202505141324'), ('202507021200'), ('202510311551'), ('202511101554-drop-old-idx'), ('202511011637-preauthkey-bcrypt'),
    ('202511122344-remove-newline-index'), ('202511131445-node-forced-tags-to-tags'), ('202601121700-migrate-hostinfo-request-tags'),
    ('202602201200-clear-tagged-node-user-id'), ('202605221435-clear-zero-time-node-expiry'), ('202606181200-recover-null-tags-node-user-id');
insert into headscale.database_versions (version, updated_at) values ('v0.29.2', now());
