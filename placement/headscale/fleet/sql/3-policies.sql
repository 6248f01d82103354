-- Row security: a server writes its own rows and no other; the two reads beyond them are in node_is_visible and user_is_visible.
do $$ declare p record; t text; begin
  for p in select polname, polrelid::regclass as of_table from pg_policy
           where polrelid in (select oid from pg_class where relnamespace = to_regnamespace('headscale')) loop
    execute format('drop policy %I on %s', p.polname, p.of_table);
  end loop;
  foreach t in array array['users', 'nodes', 'pre_auth_keys', 'policies', 'api_keys'] loop
    execute format('alter table headscale.%I enable row level security', t);
    execute format('create policy own_insert on headscale.%I for insert to acs_headscale with check (cluster_id = headscale.this_cluster())', t);
    execute format('create policy own_update on headscale.%I for update to acs_headscale '
                   'using (cluster_id = headscale.this_cluster()) with check (cluster_id = headscale.this_cluster())', t);
    execute format('create policy own_delete on headscale.%I for delete to acs_headscale using (cluster_id = headscale.this_cluster())', t);
    if t not in ('users', 'nodes') then
      execute format('create policy own_read on headscale.%I for select to acs_headscale using (cluster_id = headscale.this_cluster())', t);
    end if;
  end loop;
  foreach t in array array['users', 'nodes', 'pre_auth_keys'] loop
    execute format('create policy mover on headscale.%I to acs_mover using (true) with check (true)', t);
    execute format('create policy worker_read on headscale.%I for select to acs_worker using (true)', t);
  end loop;
end $$;
create policy read on headscale.nodes for select to acs_headscale using (headscale.node_is_visible(id, cluster_id, home_cluster_id));
create policy read on headscale.users for select to acs_headscale using (headscale.user_is_visible(id, cluster_id));

-- the door: unused, single-use keys of at most a day; the read is what RETURNING id and ON CONFLICT (prefix) need
create policy door on headscale.pre_auth_keys for insert to acs_web
  with check (not used and not coalesce(reusable, false) and expiration between now() and now() + interval '24 hours');
create policy door_back on headscale.pre_auth_keys for select to acs_web using (true);

-- the worker ends keys, it never prolongs them (a minute for clocks that differ)
create policy worker_expire on headscale.pre_auth_keys for update to acs_worker using (true) with check (expiration <= now() + interval '1 minute');
create policy worker_insert on headscale.api_keys for insert to acs_worker with check (true);
