"""Who may use the fleet and how much: plans, tenants, credentials, quota, lifecycle, audit."""
