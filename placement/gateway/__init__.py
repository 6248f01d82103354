"""The gateway in front of the fleet: one permanent name per tenant, routed to the cluster that the tenant lives on.

`haproxy` speaks to one HAProxy over its runtime socket, `plan` compares what it has with what it should have, `routes` holds the
verbs that the rest of the service calls, `config` renders the configuration that all of this expects.
"""
