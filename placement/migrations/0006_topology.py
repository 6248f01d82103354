"""The ledger's count of tenants for clusters that have some already; and the trigger that tells every process when the fleet's membership changes.

The trigger runs as the owner, for the roles that change clusters (acs_web, acs_worker) only read the version.
"""

from django.db import migrations

COUNT = "update placement_cluster c set tenants = (select count(*) from placement_binding b where b.cluster_id = c.cluster_id)"
MAKE = """
create sequence placement_topology_versions;
create function placement_topology_changed() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare new_version bigint := nextval('public.placement_topology_versions');
begin
  insert into public.placement_topology (id, version) values (1, new_version) on conflict (id) do update set version = excluded.version;
  perform pg_notify('acs_topology', new_version::text);
  return null;
end $$;
revoke execute on function placement_topology_changed() from public;
create trigger membership_grew_or_shrank after insert or delete on placement_cluster for each row execute function placement_topology_changed();
create trigger membership_changed after update on placement_cluster for each row
  when ((old.region, old.service_class, old.residency, old.kind, old.capacity, old.registered_at)
    is distinct from (new.region, new.service_class, new.residency, new.kind, new.capacity, new.registered_at))
  execute function placement_topology_changed();
"""
UNMAKE = """
drop trigger membership_grew_or_shrank on placement_cluster;
drop trigger membership_changed on placement_cluster;
drop function placement_topology_changed();
drop sequence placement_topology_versions;
"""


class Migration(migrations.Migration):
    dependencies = [("placement", "0005_engine")]
    operations = [migrations.RunSQL(COUNT, migrations.RunSQL.noop), migrations.RunSQL(MAKE, UNMAKE)]
