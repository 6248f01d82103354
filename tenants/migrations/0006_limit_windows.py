from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0005_trust_policies")]
    operations = [
        migrations.CreateModel(
            name="LimitWindow",
            fields=[
                ("key", models.CharField(max_length=200, primary_key=True, serialize=False)),
                ("hits", models.PositiveIntegerField()),
                ("ends_at", models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.RunSQL("alter table tenants_limitwindow set unlogged", "alter table tenants_limitwindow set logged"),
    ]
