import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0007_network_policies'),
    ]

    operations = [
        migrations.AddField(
            model_name='enrolment',
            name='tags',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=60), blank=True, help_text='Empty: as its credential says.', null=True, size=None, verbose_name='tags'),
        ),
    ]
