"""The nodes of a complete look that is being taken in: unlogged, for they are gone when it commits."""

from django.db import migrations

MAKE = """
create unlogged table placement_sighting (
    node_id bigint not null,
    last_seen timestamptz,
    key_id bigint,
    facts uuid not null,
    online boolean,
    cluster_id varchar(32) not null,
    primary key (cluster_id, node_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100000);
"""


class Migration(migrations.Migration):

    dependencies = [
        ('placement', '0015_polls_by_month'),
    ]

    operations = [
        migrations.RunSQL(MAKE, "drop table placement_sighting"),
    ]
