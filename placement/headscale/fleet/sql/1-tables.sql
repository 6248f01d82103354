-- What the fleet adds to headscale's tables: whose each row is, and what must be unique within a cluster or over the whole fleet.
-- Run as the schema's owner while the servers are stopped; every statement may be repeated.

-- Who is asking: the login role itself, hs_<cluster_id>. Not a setting: any session may change a setting.
create or replace function headscale.this_cluster() returns text language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when session_user like 'hs\_%' then substr(session_user, 4) end
$$;

do $$ declare t text; begin
  foreach t in array array['users', 'nodes', 'pre_auth_keys', 'policies', 'api_keys'] loop
    execute format('alter table headscale.%I add column if not exists cluster_id text not null default headscale.this_cluster()', t);
    execute format('create index if not exists %I on headscale.%I (cluster_id)', t || '_of_a_cluster', t);
  end loop;
end $$;

-- where an address comes from: it stays reserved there while its device lives elsewhere
alter table headscale.nodes add column if not exists home_cluster_id text not null default headscale.this_cluster();

-- users are unique in a cluster: headscale's own indexes, with the cluster in front
do $$ declare i text; begin
  foreach i in array array['idx_name_no_provider_identifier', 'idx_name_provider_identifier', 'idx_provider_identifier'] loop
    if pg_get_indexdef(to_regclass('headscale.' || i)) not like '%(cluster_id, %' then
      execute format('drop index headscale.%I', i);
    end if;
  end loop;
end $$;
create unique index if not exists idx_name_no_provider_identifier on headscale.users (cluster_id, name) where provider_identifier is null;
create unique index if not exists idx_name_provider_identifier on headscale.users (cluster_id, name, provider_identifier);
create unique index if not exists idx_provider_identifier on headscale.users (cluster_id, provider_identifier) where provider_identifier is not null;

-- addresses are unique in the fleet, names in a cluster
create unique index if not exists one_ipv4 on headscale.nodes (ipv4);
create unique index if not exists one_ipv6 on headscale.nodes (ipv6);
-- not unique: headscale inserts a second `laptop` under its bare name and adds the -1 afterwards, and a unique index would keep that device out.
-- Two rows may share a name for a moment; a move looks for clashes itself.
create index if not exists names_of_a_cluster on headscale.nodes (cluster_id, given_name);

-- a row's owner is its user's owner: plain foreign keys do not heed row security
do $$ declare c record; begin
  for c in select * from (values
    ('users', 'a_user_of_a_cluster', 'unique (cluster_id, id)'),
    ('pre_auth_keys', 'a_key_of_a_cluster', 'unique (cluster_id, id)'),
    ('nodes', 'user_of_the_same_cluster',
     'foreign key (cluster_id, user_id) references headscale.users (cluster_id, id) deferrable initially deferred'),
    ('nodes', 'key_of_the_same_cluster',
     'foreign key (cluster_id, auth_key_id) references headscale.pre_auth_keys (cluster_id, id) deferrable initially deferred'),
    ('pre_auth_keys', 'user_of_the_same_cluster',
     'foreign key (cluster_id, user_id) references headscale.users (cluster_id, id) deferrable initially deferred')) v(t, name, body)
  loop
    if not exists (select 1 from pg_constraint where conname = c.name and conrelid = to_regclass('headscale.' || c.t)) then
      execute format('alter table headscale.%I add constraint %I %s', c.t, c.name, c.body);
    end if;
  end loop;
end $$;

-- the addresses that a cluster hands out
create table if not exists headscale.prefix (cluster_id text not null, prefix cidr not null, primary key (cluster_id, prefix));

-- rows that a cluster may read before it owns them: a move's adoption
create table if not exists headscale.adoption (
    cluster_id text not null,
    node_id bigint not null,
    until timestamptz not null,
    primary key (cluster_id, node_id)
);

-- what servers wrote, for ACS to hear. Consume by deleting (for update skip locked), never by a cursor: ids commit out of order.
create table if not exists headscale.event (
    id bigserial primary key,
    at timestamptz not null default clock_timestamp(),
    cluster_id text not null,
    kind text not null,
    node_id bigint,
    key_id bigint,
    user_id bigint
);
