"""Metering's tables. What grows by the million is partitioned by month; workers, who own nothing, make and drop months by two functions of the owner's."""

import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


MAKE = """
create table billing_session (
    began timestamptz not null,
    ended timestamptz not null,
    told_at timestamptz not null,
    last_seen timestamptz,
    node_id bigint not null,
    device_id uuid not null,
    tenant_id uuid not null,
    cluster_id varchar(32) not null,
    reason varchar(8) not null,
    constraint session_ends_after_it_began check (ended >= began),
    constraint session_lies_within_one_day check (
        ((ended - interval '1 microsecond') at time zone 'UTC')::date <= (began at time zone 'UTC')::date)
) partition by range (began);
create index sessions_by_time on billing_session using brin (began timestamptz_minmax_multi_ops) with (pages_per_range = 16);

create table billing_coverage (
    since timestamptz not null,
    until timestamptz not null,
    cluster_id varchar(32) not null,
    restarted boolean not null,
    primary key (cluster_id, until),
    constraint coverage_ends_after_it_began check (until >= since)
) partition by range (until);

create table billing_deviceday (
    device_id uuid not null,
    tenant_id uuid not null,
    day date not null,
    seconds integer not null,
    cluster_id varchar(32) not null,
    primary key (day, cluster_id, device_id),
    constraint day_has_86400_seconds check (seconds between 0 and 86400)
) partition by range (day);
create index device_days_of_tenant on billing_deviceday (tenant_id, day);

-- the nodes of a poll that is being taken in; unlogged, for they are gone when it commits
create unlogged table billing_sample (
    node_id bigint not null,
    last_seen timestamptz,
    online boolean not null,
    cluster_id varchar(32) not null,
    primary key (cluster_id, node_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100000);

create function billing_make_months(first date, last date) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    month date := date_trunc('month', first);
    parent text;
    child text;
    made integer := 0;
begin
    if last > current_date + 366 then
        raise exception 'no months are made more than a year ahead';
    end if;
    while month <= last loop
        foreach parent in array array['billing_session', 'billing_coverage', 'billing_deviceday'] loop
            child := parent || to_char(month, '_YYYY_MM');
            continue when to_regclass('public.' || child) is not null;
            perform pg_advisory_xact_lock(hashtext('billing_make_months'));
            continue when to_regclass('public.' || child) is not null;
            execute format('create table public.%I (like public.%I including all) with (fillfactor = %s)', child, parent,
                case parent when 'billing_deviceday' then 80 else 100 end);
            execute format('alter table public.%I attach partition public.%I for values from (%L) to (%L)', parent, child,
                month, (month + interval '1 month')::date);
            made := made + 1;
        end loop;
        month := month + interval '1 month';
    end loop;
    return made;
end $$;

create function billing_drop_months(parent text, before date) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    child text;
    dropped integer := 0;
begin
    if parent not in ('billing_session', 'billing_coverage', 'billing_deviceday') or before > current_date - 31 then
        raise exception 'months of % before % are not dropped', parent, before;
    end if;
    for child in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = ('public.' || quote_ident(parent))::regclass and right(c.relname, 7) < to_char(before, 'YYYY_MM')
    loop
        execute format('drop table public.%I', child);
        dropped := dropped + 1;
    end loop;
    return dropped;
end $$;
revoke all on function billing_make_months(date, date), billing_drop_months(text, date) from public;
"""
UNMAKE = """
drop function billing_make_months(date, date);
drop function billing_drop_months(text, date);
drop table billing_session, billing_coverage, billing_deviceday, billing_sample;
"""


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('placement', '0014_stays'),
        ('tenants', '0008_enrolment_tags'),
    ]

    operations = [
        migrations.CreateModel(
            name='Coverage',
            fields=[
                ('pk', models.CompositePrimaryKey('cluster', 'until', blank=True, editable=False, primary_key=True, serialize=False)),
                ('since', models.DateTimeField(verbose_name='since')),
                ('until', models.DateTimeField(verbose_name='until')),
                ('restarted', models.BooleanField(default=False, verbose_name='after a restart')),
            ],
            options={
                'verbose_name': 'coverage',
                'verbose_name_plural': 'coverage',
                'db_table': 'billing_coverage',
                'ordering': ['until'],
                'managed': False,
            },
        ),
        migrations.CreateModel(
            name='DeviceDay',
            fields=[
                ('pk', models.CompositePrimaryKey('day', 'device_id', 'cluster', blank=True, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField(verbose_name='day')),
                ('device_id', models.UUIDField(verbose_name='device')),
                ('seconds', models.PositiveIntegerField(verbose_name='seconds online')),
            ],
            options={
                'verbose_name': "device's day",
                'verbose_name_plural': "devices' days",
                'db_table': 'billing_deviceday',
                'ordering': ['day', 'device_id'],
                'managed': False,
            },
        ),
        migrations.CreateModel(
            name='Session',
            fields=[
                ('pk', models.CompositePrimaryKey('cluster', 'device_id', 'began', blank=True, editable=False, primary_key=True, serialize=False)),
                ('device_id', models.UUIDField(verbose_name='device')),
                ('node_id', models.BigIntegerField(verbose_name='node id')),
                ('began', models.DateTimeField(verbose_name='began')),
                ('ended', models.DateTimeField(verbose_name='ended')),
                ('reason', models.CharField(choices=[('offline', 'seen offline'), ('gone', 'no longer there'), ('gap', 'not watched'), ('doubt', 'not back after a restart of its server')], max_length=8, verbose_name='why it ended')),
                ('told_at', models.DateTimeField(verbose_name='told at')),
                ('last_seen', models.DateTimeField(blank=True, null=True, verbose_name='last seen')),
            ],
            options={
                'verbose_name': 'session',
                'verbose_name_plural': 'sessions',
                'db_table': 'billing_session',
                'ordering': ['began'],
                'managed': False,
            },
        ),
        migrations.CreateModel(
            name='Meter',
            fields=[
                ('cluster', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='meter', serialize=False, to='placement.cluster', verbose_name='cluster')),
                ('last_ok', models.DateTimeField(blank=True, null=True, verbose_name='counted until')),
                ('server_started', models.DateTimeField(blank=True, null=True, verbose_name='server started')),
                ('stays_seen_at', models.DateTimeField(blank=True, null=True, verbose_name='stays looked at')),
            ],
            options={
                'verbose_name': 'meter',
                'verbose_name_plural': 'meters',
                'ordering': ['cluster'],
            },
        ),
        migrations.CreateModel(
            name='DirtyDay',
            fields=[
                ('pk', models.CompositePrimaryKey('cluster', 'day', blank=True, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField(verbose_name='day')),
                ('marks', models.BigIntegerField(default=1, verbose_name='marks')),
                ('cluster', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='placement.cluster', verbose_name='cluster')),
            ],
            options={
                'verbose_name': 'day to rebuild',
                'verbose_name_plural': 'days to rebuild',
            },
        ),
        migrations.CreateModel(
            name='OpenSession',
            fields=[
                ('pk', models.CompositePrimaryKey('cluster', 'node_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('node_id', models.BigIntegerField(verbose_name='node id')),
                ('device_id', models.UUIDField(verbose_name='device')),
                ('began', models.DateTimeField(verbose_name='began')),
                ('certain_until', models.DateTimeField(blank=True, null=True, verbose_name='certain until')),
                ('cluster', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='placement.cluster', verbose_name='cluster')),
                ('tenant', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'open session',
                'verbose_name_plural': 'open sessions',
            },
        ),
        migrations.CreateModel(
            name='UsageHour',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('hour', models.DateTimeField(verbose_name='hour')),
                ('seconds', models.BigIntegerField(verbose_name='seconds online')),
                ('cluster', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='placement.cluster', verbose_name='cluster')),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': "tenant's hour of use",
                'verbose_name_plural': "tenants' hours of use",
                'ordering': ['-hour', 'tenant', 'cluster'],
            },
        ),
        migrations.CreateModel(
            name='Correction',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('since', models.DateTimeField(verbose_name='from')),
                ('until', models.DateTimeField(verbose_name='to')),
                ('reason', models.CharField(max_length=300, verbose_name='reason')),
                ('made_by', models.CharField(max_length=120, verbose_name='made by')),
                ('made_at', models.DateTimeField(verbose_name='made')),
                ('cluster', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='placement.cluster', verbose_name='cluster')),
            ],
            options={
                'verbose_name': 'correction',
                'verbose_name_plural': 'corrections',
                'ordering': ['-id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('until__gt', models.F('since'))), name='correction_has_a_length'), models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='correction_has_a_reason')],
            },
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='correction',
            trigger=pgtrigger.compiler.Trigger(name='corrections_are_appended', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='28de12958b1bda5c9ea52da708dbc10d4267cf45', operation='UPDATE OR DELETE', pgid='pgtrigger_corrections_are_appended_3194a', table='billing_correction', when='BEFORE')),
        ),
        migrations.AddConstraint(
            model_name='opensession',
            constraint=models.CheckConstraint(condition=models.Q(('certain_until', None), ('certain_until__gte', models.F('began')), _connector='OR'), name='doubt_begins_after_session'),
        ),
        migrations.AddIndex(
            model_name='usagehour',
            index=models.Index(fields=['cluster', 'hour'], name='use_of_cluster'),
        ),
        migrations.AddConstraint(
            model_name='usagehour',
            constraint=models.UniqueConstraint(fields=('tenant', 'hour', 'cluster'), name='tenant_has_one_sum_an_hour_and_cluster'),
        ),
        migrations.AddConstraint(
            model_name='usagehour',
            constraint=models.CheckConstraint(condition=models.Q(('seconds__gt', 0)), name='hour_of_use_has_seconds'),
        ),
        migrations.RunSQL(MAKE, UNMAKE),
    ]
