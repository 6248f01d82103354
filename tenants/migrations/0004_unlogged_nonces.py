"""Nonces outlive no restart that their timestamps would outlive: a crash empties the table, and for five minutes a recorded request could be sent
once more within its time. That is the price of not writing every one of them to the log; what it would obtain is an answer its device had already.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("tenants", "0003_enrolment_groups")]
    operations = [migrations.RunSQL("alter table tenants_nonce set unlogged", "alter table tenants_nonce set logged")]
