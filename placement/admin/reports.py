"""The operators' pages of what servers reported."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from placement.admin.base import ClusterFilter, CountedSoFar, Lately, PlacementAdmin, cluster, measured
from placement.models import Heat, LoadSample, OutboxEvent, PollRun, Watch
from tenants import columns


@admin.register(Watch)
class WatchAdmin(PlacementAdmin):
    list_display = (
        cluster,
        columns.at("complete_at", _("last complete poll started")),
        columns.at("attempted_at", _("last poll started")),
        "nodes",
        "failures",
    )
    list_display_links = ("nodes",)
    list_select_related = ("cluster",)
    fields = (cluster, "complete_at", "attempted_at", "nodes", "failures")
    ordering = ("cluster",)


@admin.register(PollRun)
class PollRunAdmin(PlacementAdmin):
    list_display = (
        columns.at("started_at", _("started")),
        cluster,
        columns.stated("outcome", _("outcome")),
        "online",
        "nodes",
        "took",
        "reason",
    )
    list_filter = ("outcome", Lately, ("cluster", ClusterFilter))
    paginator = CountedSoFar
    ordering = ("-started_at", "-id")
    search_fields = ("cluster__cluster_id", "reason")
    list_select_related = ("cluster",)
    fields = ("started_at", cluster, columns.stated("outcome", _("outcome")), "online", "nodes", "took", "reason")

    @admin.display(description=_("seconds taken"), ordering="seconds")
    def took(self, run: PollRun) -> str:
        return f"{run.seconds:.2f}"


@admin.register(LoadSample)
class LoadSampleAdmin(PlacementAdmin):
    list_display = (columns.at("at", _("at")), cluster, "sessions", "memory", "queue_depth", "cpu", "p95")
    list_filter = (("cluster", ClusterFilter),)
    list_select_related = ("cluster",)
    fields = ("at", cluster, "sessions", "memory", "queue_depth", "cpu", "peer_calculations", "p95")

    @admin.display(description=_("resident memory"), ordering="memory_bytes")
    def memory(self, sample: LoadSample) -> str:
        return f"{sample.memory_bytes / 2**20:.1f} MiB"

    @admin.display(description=_("CPU seconds since the server's start"), ordering="cpu_seconds")
    def cpu(self, sample: LoadSample) -> str:
        return f"{sample.cpu_seconds:.1f}"

    @admin.display(description=_("peer calculation p95"), ordering="peer_calculation_p95")
    def p95(self, sample: LoadSample) -> str:
        return columns.NOTHING if sample.peer_calculation_p95 is None else f"{sample.peer_calculation_p95 * 1000:.1f} ms"


@admin.register(Heat)
class HeatAdmin(PlacementAdmin):
    list_display = (
        cluster,
        "used",
        "cpu_cores",
        "sessions",
        "backlog",
        "calculation",
        "resident",
        columns.at("at", _("last sample")),
        "failures",
    )
    list_display_links = ("used",)
    list_filter = ("breaker_open",)
    search_fields = ("cluster__cluster_id",)
    list_select_related = ("cluster",)
    ordering = ("cluster",)
    fields = (
        *(cluster, "used", "cpu_cores", "sessions", "backlog", "calculation", "resident", "at", "attempted_at", "failures"),
        *("breaker_open", "cool_since", "hot_since"),
    )

    @admin.display(description=_("measured utilisation"), ordering="measured")
    def used(self, row: Heat) -> str:
        return measured(row)

    @admin.display(description=_("CPU"), ordering="cpu")
    def cpu_cores(self, row: Heat) -> str:
        return f"{row.cpu:.2f} / {row.cluster.cores:g}"

    @admin.display(description=_("netmap backlog"), ordering="queue")
    def backlog(self, row: Heat) -> str:
        return f"{row.queue:.1f} / {row.cluster.max_queue}"

    @admin.display(description=_("peer calculation p95"), ordering="peer_seconds")
    def calculation(self, row: Heat) -> str:
        return f"{row.peer_seconds * 1000:.0f} ms"

    @admin.display(description=_("resident memory"), ordering="memory")
    def resident(self, row: Heat) -> str:
        return f"{row.memory / 2**20:.1f} MiB"


@admin.register(OutboxEvent)
class OutboxEventAdmin(PlacementAdmin):
    list_display = ("id", columns.at("at", _("at")), "kind", "cluster_id", "node_id", "key_id", "user_id")
    list_filter = ("kind",)
    search_fields = ("cluster_id", "kind")
    fields = ("id", "at", "kind", "cluster_id", "node_id", "key_id", "user_id")

    def heading(self) -> str:
        return str(_("Outbox: what servers wrote and nobody has handled yet"))
