"""One DERP map, in Tailscale's spelling for devices and in headscale's for servers."""

from __future__ import annotations

import json

import pytest
import yaml

from placement import derp
from placement.models import Cluster

HEADSCALES = """
regions:
  900:
    regionid: 900
    regioncode: custom
    regionname: My Region
    nodes:
      - name: 900a
        regionid: 900
        hostname: relay.example.com
        ipv4: 198.51.100.1
        stunport: 3478
        derpport: 443
        canport80: true
"""


def test_without_a_setting_the_map_is_one_relay_on_loopback(settings):
    settings.DERP_MAP = ""
    regions = derp.map_for(Cluster(cluster_id="a"))["Regions"]
    assert [node["HostName"] for region in regions.values() for node in region["Nodes"]] == ["127.0.0.1"]


def test_a_map_in_headscales_spelling_is_served_in_tailscales_and_comes_back_the_same(settings, tmp_path):
    (tmp_path / "derp.yaml").write_text(HEADSCALES)
    settings.DERP_MAP = str(tmp_path / "derp.yaml")
    served = derp.map_for(Cluster(cluster_id="a"))
    assert served["Regions"]["900"]["Nodes"][0]["HostName"] == "relay.example.com"
    assert served["Regions"]["900"]["Nodes"][0]["CanPort80"] is True
    assert json.loads(json.dumps(served)) == served
    assert yaml.safe_load(derp.as_headscale_yaml(served)) == yaml.safe_load(HEADSCALES)


def test_tailscales_own_json_passes_through(settings, tmp_path):
    nodes = [{"Name": "1a", "RegionID": 1, "HostName": "derp1.example", "NewField": 1}]
    region = {"RegionID": 1, "RegionCode": "x", "RegionName": "X", "Latitude": 1.5, "Nodes": nodes}
    document = {"HomeParams": {"RegionScore": {"1": 0.5}}, "Regions": {"1": region, "2": None}}
    (tmp_path / "derp.json").write_text(json.dumps(document))
    settings.DERP_MAP = str(tmp_path / "derp.json")
    assert derp.fleet_wide() == document


def test_a_clusters_own_map_comes_first(settings):
    own = {"Regions": {"7": {"RegionID": 7, "Nodes": [{"Name": "7a", "RegionID": 7, "HostName": "own.example"}]}}}
    assert derp.map_for(Cluster(cluster_id="a", derp_map=own)) == own


def test_a_changed_file_is_read_again(settings, tmp_path):
    path = tmp_path / "derp.yaml"
    path.write_text(HEADSCALES)
    settings.DERP_MAP = str(path)
    derp.fleet_wide()
    path.write_text(HEADSCALES.replace("relay", "other-relay"))
    assert derp.fleet_wide()["Regions"]["900"]["Nodes"][0]["HostName"] == "other-relay.example.com"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "regions: {}",
        "regions: {1: {regionid: 2}}",
        "regions: {1: {regionid: 1, nodes: [{name: a, regionid: 1}]}}",
        "regions: {1: 5}",
        "{",
    ],
)
def test_a_file_that_is_no_map_is_refused(settings, tmp_path, text):
    (tmp_path / "derp.yaml").write_text(text)
    settings.DERP_MAP = str(tmp_path / "derp.yaml")
    with pytest.raises(derp.BadDerpMap):
        derp.fleet_wide()


def test_a_missing_file_is_named_with_its_setting(settings):
    settings.DERP_MAP = "/nowhere/derp.json"
    with pytest.raises(derp.BadDerpMap, match="ACS_DERP_MAP names /nowhere"):
        derp.fleet_wide()
