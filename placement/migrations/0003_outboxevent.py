from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("placement", "0002_one_index_each"),
    ]

    operations = [
        migrations.CreateModel(
            name="OutboxEvent",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField(verbose_name="at")),
                ("cluster_id", models.TextField(verbose_name="cluster")),
                ("kind", models.TextField(verbose_name="kind")),
                ("node_id", models.BigIntegerField(null=True, verbose_name="node id")),
                ("key_id", models.BigIntegerField(null=True, verbose_name="key id on the server")),
                ("user_id", models.BigIntegerField(null=True, verbose_name="headscale user id")),
            ],
            options={
                "verbose_name": "outbox event",
                "verbose_name_plural": "outbox",
                "db_table": '"headscale"."event"',
                "ordering": ["-id"],
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
    ]
