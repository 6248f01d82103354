-- The fleet's functions. Each names its search path, pg_temp last: a temporary table must not shadow a name.

-- A server writes ids that the sequence gave out (any other would collide with a neighbour's next row) and never changes a row's id or owner.
create or replace function headscale.keep_ids() returns trigger language plpgsql security definer set search_path = pg_catalog, headscale, pg_temp as $$
declare given bigint;
begin
  if headscale.this_cluster() is null then return new; end if;
  if tg_op = 'UPDATE' then
    if (new.id, new.cluster_id) is distinct from (old.id, old.cluster_id) then
      raise exception 'a server changes neither the id nor the owner of a row' using errcode = 'check_violation';
    end if;
    return new;
  end if;
  execute format('select case when is_called then last_value else 0 end from headscale.%I', tg_argv[0]) into given;
  if new.id > given or new.id < 1 then
    raise exception 'id % of % was not given out', new.id, tg_table_name using errcode = 'check_violation';
  end if;
  return new;
end $$;

-- A server writes addresses of its own prefixes, each in its one canonical spelling, and its own home.
create or replace function headscale.keep_to_own() returns trigger language plpgsql security definer set search_path = pg_catalog, headscale, pg_temp as $$
begin
  if headscale.this_cluster() is null then return new; end if;
  new.home_cluster_id := case when tg_op = 'INSERT' then headscale.this_cluster() else old.home_cluster_id end;
  if (tg_op = 'INSERT' or (new.ipv4, new.ipv6) is distinct from (old.ipv4, old.ipv6)) and exists (
      select 1 from (values (new.ipv4, 4), (new.ipv6, 6)) a(ip, version) where ip <> ''
      and not exists (select 1 from headscale.prefix p where p.cluster_id = headscale.this_cluster()
                      and a.ip::inet <<= p.prefix and family(a.ip::inet) = a.version and host(a.ip::inet) = a.ip)) then
    raise exception 'address outside the prefixes of %', headscale.this_cluster() using errcode = 'check_violation';
  end if;
  return new;
end $$;

-- A higher version in database_versions would stop every other server at its next start.
create or replace function headscale.keep_version() returns trigger language plpgsql set search_path = pg_catalog, headscale, pg_temp as $$
begin
  if session_user like 'hs\_%' and (new.id, new.version) is distinct from (old.id, old.version) then
    raise exception 'only an upgrade changes the version' using errcode = 'check_violation';
  end if;
  return new;
end $$;

-- A cluster reads its own rows; rows of an open adoption (and, while it is open, the reload of all nodes shows the adopted ones only:
-- a reload resets the session counters of residents); and of devices that moved away their addresses, in the allocator's two queries.
create or replace function headscale.node_is_visible(id bigint, owner text, home text) returns boolean
language sql stable security definer set search_path = pg_catalog, headscale, pg_temp as $$
  select case
    when exists (select 1 from headscale.adoption a where a.cluster_id = headscale.this_cluster() and a.node_id = $1 and a.until > clock_timestamp()) then true
    when owner = headscale.this_cluster() then
      current_query() <> 'SELECT * FROM "nodes"'
      or not exists (select 1 from headscale.adoption a where a.cluster_id = owner and a.until > clock_timestamp())
    else home = headscale.this_cluster() and current_query() in ('SELECT "ipv4" FROM "nodes"', 'SELECT "ipv6" FROM "nodes"')
  end
$$;

create or replace function headscale.user_is_visible(id bigint, owner text) returns boolean
language sql stable security definer set search_path = pg_catalog, headscale, pg_temp as $$
  select owner = headscale.this_cluster() or exists (
    select 1 from headscale.adoption a join headscale.nodes n on n.id = a.node_id
    where a.cluster_id = headscale.this_cluster() and n.user_id = $1 and a.until > clock_timestamp())
$$;

create or replace function headscale.tell() returns trigger language plpgsql security definer set search_path = pg_catalog, headscale, pg_temp as $$
begin
  if tg_table_name = 'nodes' then
    if tg_op = 'UPDATE' and (new.hostname, new.given_name, new.user_id, new.tags, new.node_key, new.expiry, new.approved_routes, new.cluster_id)
       is not distinct from (old.hostname, old.given_name, old.user_id, old.tags, old.node_key, old.expiry, old.approved_routes, old.cluster_id) then
      return null;
    end if;
    insert into headscale.event (cluster_id, kind, node_id, key_id, user_id)
      select r.cluster_id, 'node.' || lower(tg_op), r.id, r.auth_key_id, r.user_id from (select (coalesce(new, old)).*) r;
  else
    if not (new.used and not coalesce(old.used, false)) then return null; end if;
    insert into headscale.event (cluster_id, kind, key_id, user_id) values (new.cluster_id, 'key.used', new.id, new.user_id);
  end if;
  perform pg_notify('fleet', '');
  return null;
end $$;

-- A device's tenant: its user, or the prefix of its tags (tag:<account>--<name>; no account contains --).
create or replace function headscale.tenant_of(owner bigint, tags text) returns text
language sql stable security definer set search_path = pg_catalog, headscale, pg_temp as $$
  select case when coalesce(tags, '') in ('', 'null', '[]') then (select u.name from headscale.users u where u.id = owner)
    else (select case when count(distinct split_part(substr(t, 5), '--', 1)) = 1 then min(split_part(substr(t, 5), '--', 1)) else '(several)' end
          from jsonb_array_elements_text(tags::jsonb) t) end
$$;

-- headscale converts a tagged device in place when another tenant approves its login: that is refused here.
create or replace function headscale.keep_tenant() returns trigger language plpgsql security definer set search_path = pg_catalog, headscale, pg_temp as $$
begin
  if headscale.this_cluster() is not null and headscale.tenant_of(new.user_id, new.tags) is distinct from headscale.tenant_of(old.user_id, old.tags) then
    raise exception 'device % belongs to tenant %, not %', old.id, headscale.tenant_of(old.user_id, old.tags), headscale.tenant_of(new.user_id, new.tags)
      using errcode = 'check_violation';
  end if;
  return new;
end $$;

-- The door ends a promised key that it replaces by a fresh one; a key that was used stays as it is. It can only shorten a life.
create or replace function headscale.retire_key(cluster text, key_id bigint) returns boolean
language plpgsql security definer set search_path = pg_catalog, headscale, pg_temp as $$
begin
  update headscale.pre_auth_keys k set expiration = now() where k.cluster_id = cluster and k.id = key_id and not k.used and k.expiration > now();
  return found;
end $$;

-- The door makes a tenant's user at its first binding; a server learns of it with its first device, no call needed.
create or replace function headscale.make_user(cluster text, account text) returns bigint
language plpgsql security definer set search_path = pg_catalog, headscale, pg_temp as $$
declare made bigint;
begin
  if account !~ '^[a-z]([a-z0-9-]*[a-z0-9])?$' or account like '%--%' then
    raise exception 'not an account: %', account using errcode = 'check_violation';
  end if;
  if not exists (select 1 from headscale.prefix p where p.cluster_id = cluster) then
    raise exception 'no cluster % in this fleet', cluster using errcode = 'check_violation';
  end if;
  insert into headscale.users (name, provider, created_at, updated_at, cluster_id) values (account, '', now(), now(), cluster)
    on conflict (cluster_id, name) where provider_identifier is null do nothing returning id into made;
  return coalesce(made, (select u.id from headscale.users u where u.cluster_id = cluster and u.name = account and u.provider_identifier is null));
end $$;

-- How much waits in the outbox, for the door's health and metrics: a count and an age, no event.
create or replace function headscale.outbox(out depth bigint, out oldest timestamptz)
language sql stable security definer set search_path = pg_catalog, headscale, pg_temp as $$
  select count(*), min(e.at) from headscale.event e
$$;

do $$ declare t text; begin
  foreach t in array array['users', 'nodes', 'pre_auth_keys', 'policies', 'api_keys'] loop
    execute format('create or replace trigger keep_ids before insert or update on headscale.%I for each row execute function headscale.keep_ids(%L)',
                   t, t || '_id_seq');
  end loop;
end $$;
create or replace trigger keep_to_own before insert or update on headscale.nodes for each row execute function headscale.keep_to_own();
create or replace trigger keep_tenant before update of user_id, tags on headscale.nodes for each row execute function headscale.keep_tenant();
create or replace trigger keep_version before insert or update on headscale.database_versions for each row execute function headscale.keep_version();
create or replace trigger tell after insert or update or delete on headscale.nodes for each row execute function headscale.tell();
create or replace trigger tell after update on headscale.pre_auth_keys for each row execute function headscale.tell();
