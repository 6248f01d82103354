-- Who may do what in the fleet's schema. Everything is taken back first, so that what is not on this page is not granted.
do $$ declare g record; begin
  for g in
    select distinct format('table %s', c.oid::regclass) as what, x.grantee, c.relowner as owner
      from pg_class c, aclexplode(c.relacl) x where c.relnamespace = to_regnamespace('headscale') and c.relkind in ('r', 'v', 'm', 'p')
    union select format('sequence %s', c.oid::regclass), x.grantee, c.relowner
      from pg_class c, aclexplode(c.relacl) x where c.relnamespace = to_regnamespace('headscale') and c.relkind = 'S'
    union select format('table %s', c.oid::regclass), x.grantee, c.relowner
      from pg_class c join pg_attribute a on a.attrelid = c.oid, aclexplode(a.attacl) x where c.relnamespace = to_regnamespace('headscale')
    union select format('function %s', f.oid::regprocedure), x.grantee, f.proowner
      from pg_proc f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) x where f.pronamespace = to_regnamespace('headscale')
    union select format('schema %I', n.nspname), x.grantee, n.nspowner
      from pg_namespace n, aclexplode(n.nspacl) x where n.oid = to_regnamespace('headscale')
  loop
    if g.grantee <> g.owner then
      execute format('revoke all on %s from %s', g.what, case when g.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end);
    end if;
  end loop;
end $$;
grant usage on schema headscale to acs_headscale, acs_web, acs_worker, acs_mover;

-- servers
grant select, insert, update, delete on headscale.users, headscale.nodes, headscale.pre_auth_keys, headscale.policies, headscale.api_keys to acs_headscale;
grant select on headscale.migrations to acs_headscale;
grant select, update on headscale.database_versions to acs_headscale;
grant usage on sequence headscale.users_id_seq, headscale.nodes_id_seq, headscale.pre_auth_keys_id_seq, headscale.policies_id_seq,
  headscale.api_keys_id_seq to acs_headscale;
grant execute on function headscale.this_cluster(), headscale.node_is_visible(bigint, text, text), headscale.user_is_visible(bigint, text) to acs_headscale;

-- the door
grant insert (prefix, hash, user_id, reusable, ephemeral, used, tags, created_at, expiration, cluster_id), select (id, prefix)
  on headscale.pre_auth_keys to acs_web;
grant usage on sequence headscale.pre_auth_keys_id_seq to acs_web;
grant execute on function headscale.make_user(text, text), headscale.retire_key(text, bigint), headscale.outbox() to acs_web;
grant select on headscale.event to acs_web; -- the operators' page: which row a server touched, no secret and no row's content
grant execute on function headscale.outbox() to acs_worker;

-- the worker
grant select on headscale.users, headscale.nodes, headscale.prefix, headscale.database_versions to acs_worker;
grant select (id, prefix, user_id, reusable, ephemeral, used, tags, created_at, expiration, cluster_id), update (expiration)
  on headscale.pre_auth_keys to acs_worker;
grant insert (prefix, hash, created_at, expiration, cluster_id) on headscale.api_keys to acs_worker;
grant usage on sequence headscale.api_keys_id_seq to acs_worker;
grant select, update, delete on headscale.event to acs_worker;

-- the mover
grant select, insert, update, delete on headscale.users, headscale.nodes, headscale.pre_auth_keys, headscale.adoption to acs_mover;
grant select on headscale.prefix, headscale.database_versions to acs_mover;
grant usage on sequence headscale.users_id_seq, headscale.nodes_id_seq to acs_mover;
