from django.db import migrations, models

# names that a group or a trust policy has asked for until now
PROVEN = """
update placement_slot s set proven = true
where s.released_at is null and s.registration_id is not null and exists (
    select 1 from placement_grant g join tenants_enrolmentkey k on k.id = g.enrolment_key_id where g.slot_id = s.id and k.kind <> 'bearer'
)
"""


class Migration(migrations.Migration):

    dependencies = [
        ('placement', '0010_stock'),
    ]

    operations = [
        migrations.AddField(
            model_name='slot',
            name='proven',
            field=models.BooleanField(db_default=False, default=False, help_text="A group's signature or a trusted token has proven the registration id: a bearer key cannot ask for it.", verbose_name='proven name'),
        ),
        migrations.RunSQL(PROVEN, migrations.RunSQL.noop),
    ]
