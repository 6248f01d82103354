"""Where tenants lived from when to when, beginning with where they live now.

No extension is needed to keep two columns apart at once: a range type over uuid has PostgreSQL's own GiST operators.
"""

import django.db.models.deletion
from django.db import migrations, models

APART = """
create type uuid_range as range (subtype = uuid);
alter table placement_stay add constraint tenant_lives_on_one_cluster_at_a_time
    exclude using gist (uuid_range(tenant_id, tenant_id, '[]') with &&, tstzrange(since, until) with &&);
insert into placement_stay (tenant_id, cluster_id, since, changed_at) select tenant_id, cluster_id, created_at, now() from placement_binding;
create function placement_binding_deleted() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update public.placement_stay set until = greatest(since, now()), changed_at = now() where tenant_id = old.tenant_id and until is null;
    return old;
end $$;
create trigger deleted_binding_ends_its_stay after delete on placement_binding
    for each row execute function placement_binding_deleted();
"""
TOGETHER = """
drop trigger deleted_binding_ends_its_stay on placement_binding;
drop function placement_binding_deleted();
alter table placement_stay drop constraint tenant_lives_on_one_cluster_at_a_time;
drop type uuid_range;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('placement', '0013_grant_tags'),
        ('tenants', '0008_enrolment_tags'),
    ]

    operations = [
        migrations.CreateModel(
            name='Stay',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('since', models.DateTimeField(verbose_name='since')),
                ('until', models.DateTimeField(blank=True, null=True, verbose_name='until')),
                ('changed_at', models.DateTimeField(help_text='When this row was last written: what was billed since is reckoned again.', verbose_name='changed')),
                ('cluster', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='stays', to='placement.cluster', verbose_name='cluster')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='stays', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'stay',
                'verbose_name_plural': 'stays',
                'ordering': ['-since', '-id'],
                'indexes': [models.Index(fields=['cluster', 'changed_at'], name='stays_that_changed')],
                'constraints': [models.CheckConstraint(condition=models.Q(('until', None), ('until__gte', models.F('since')), _connector='OR'), name='stay_ends_after_it_began'), models.UniqueConstraint(condition=models.Q(('until', None)), fields=('tenant',), name='tenant_has_one_present_stay')],
            },
        ),
        migrations.RunSQL(APART, TOGETHER),
    ]
