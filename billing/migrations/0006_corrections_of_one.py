"""Corrections of one tenant or device, and corrections that were taken back."""

import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0005_money_that_goes_back'),
        ('placement', '0014_stays'),
        ('tenants', '0009_payment_overdue'),
    ]

    operations = [
        migrations.CreateModel(
            name='Retraction',
            fields=[
                ('correction', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='retraction', serialize=False, to='billing.correction', verbose_name='correction')),
                ('reason', models.CharField(max_length=300, verbose_name='reason')),
                ('made_by', models.CharField(max_length=120, verbose_name='made by')),
                ('made_at', models.DateTimeField(verbose_name='made')),
            ],
            options={
                'verbose_name': 'correction taken back',
                'verbose_name_plural': 'corrections taken back',
            },
        ),
        migrations.AddField(
            model_name='correction',
            name='device_id',
            field=models.UUIDField(blank=True, null=True, verbose_name='device'),
        ),
        migrations.AddField(
            model_name='correction',
            name='tenant',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant', verbose_name='tenant'),
        ),
        migrations.AlterField(
            model_name='correction',
            name='cluster',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='placement.cluster', verbose_name='cluster'),
        ),
        migrations.AddConstraint(
            model_name='correction',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('cluster__isnull', False), ('device_id', None), ('tenant', None)), models.Q(('cluster', None), ('tenant__isnull', False)), _connector='OR'), name='correction_is_of_a_cluster_or_of_a_tenant'),
        ),
        migrations.AddConstraint(
            model_name='retraction',
            constraint=models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='retraction_has_a_reason'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='retraction',
            trigger=pgtrigger.compiler.Trigger(name='retractions_are_appended', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='96f6e238b1e734229de23cfcd8528f623d6da751', operation='UPDATE OR DELETE', pgid='pgtrigger_retractions_are_appended_6ef75', table='billing_retraction', when='BEFORE')),
        ),
    ]
