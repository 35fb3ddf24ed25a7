from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.k8s import render
from deployments.k8s.agreement.applications import applications
from deployments.k8s.facts import PACKAGE
from deployments.k8s.objects import KubeObject, load_objects
from deployments.k8s.programs import Program
from deployments.k8s.render import Filled, fill_objects
from deployments.k8s.targets import kustomize
from deployments.settings import load_settings
from engine.errors import ConfigError
from tests.deployments.k8s.good import FACTS, Document, findings, good, named, worker
from tests.deployments.k8s.mistakes import planted as mistakes

CONFIG: dict[str, Any] = {
    "http": {"port": 8000, "max_body": "4MiB"},
    "models": [
        {
            "name": "small",
            "source": "pypi:small==1.0/model.gguf",
            "variants": [{"precision": "bf16", "cores": 2, "replicas": {"min": 2, "max": 5}}],
        }
    ],
}


def write(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**CONFIG, **changes}), encoding="utf-8")
    return path


def variant(**fields: Any) -> dict[str, Any]:
    """The whole configuration with one variant changed."""
    [model] = CONFIG["models"]
    return {"models": [{**model, "variants": [{**model["variants"][0], **fields}]}]}


def fill(path: Path, documents: list[Document] | None = None, worker_cpus: int | None = None) -> Filled:
    objects = tuple(KubeObject(document) for document in documents or good())
    return fill_objects(load_settings(path), path, Path("overlay"), objects, FACTS, worker_cpus)


def patched(filled: Filled, documents: list[Document]) -> list[Document]:
    """What kustomize makes of the patches."""
    for patch in filled.patches:
        target = next(one for one in documents if one["kind"] == patch.target["kind"])
        for step in patch.operations:
            at: Any = target
            *above, last = [int(key) if key.isdigit() else key for key in step["path"].split("/")[1:]]
            for key in above:
                at = at[key]
            if step["op"] == "test":
                assert at[last] == step["value"]
            else:
                at[last] = step["value"]
    return documents


def served(documents: list[Document]) -> Any:
    [one] = applications([KubeObject(documents[0])])
    return one


def test_the_configuration_becomes_the_arguments_and_sizes_the_workers(tmp_path: Path) -> None:
    documents = patched(fill(write(tmp_path / "c.yaml")), good())
    one = served(documents)
    assert one.application["import_path"] == "deployments.kuberay:application"
    # Where Serve listens is its own affair.
    keys = {"access": {"keys": "/models/keys.yaml"}}  # the overlay's
    assert one.application["args"] == {"http": {"max_body": "4MiB"}, **keys, "models": CONFIG["models"]}
    assert {key: worker(documents)[key] for key in ("replicas", "minReplicas", "maxReplicas")} == {
        "replicas": 2,
        "minReplicas": 2,
        "maxReplicas": 5,
    }
    assert findings(documents) == []


def test_budgets_leave_one_worker_free_to_go(tmp_path: Path) -> None:
    documents = patched(fill(write(tmp_path / "c.yaml")), good())
    assert [one["spec"]["minAvailable"] for one in documents if one["kind"] == "PodDisruptionBudget"] == [1]


def test_workers_grow_where_one_replica_would_fit_none(tmp_path: Path) -> None:
    filled = fill(write(tmp_path / "c.yaml", **variant(cores=6)))
    documents = patched(filled, good())
    container = worker(documents)["template"]["spec"]["containers"][0]
    assert container["resources"] == {
        "requests": {"cpu": "6", "memory": "12Gi"},
        "limits": {"cpu": "6", "memory": "12Gi"},
    }
    assert worker(documents)["rayStartParams"]["num-cpus"] == "6"
    assert "2 cores are too few" in filled.notes[0]
    assert findings(documents) == []


def test_the_size_of_workers_can_be_said(tmp_path: Path) -> None:
    documents = patched(fill(write(tmp_path / "c.yaml"), worker_cpus=4), good())
    assert (worker(documents)["minReplicas"], worker(documents)["maxReplicas"]) == (1, 3)
    assert findings(documents) == []
    with pytest.raises(ConfigError, match="takes 6 cores, and workers would have 4"):
        fill(write(tmp_path / "c.yaml", **variant(cores=6)), worker_cpus=4)


def test_stages_get_room_for_what_feeds_them(tmp_path: Path) -> None:
    documents = patched(fill(write(tmp_path / "c.yaml", **variant(stages=2, cores=4))), good())
    assert worker(documents)["rayStartParams"]["num-cpus"] == "5"
    assert worker(documents)["maxReplicas"] == 10
    assert findings(documents) == []


def test_front_doors_get_nodes_and_proxies(tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", http={"front_doors": 5})
    documents = good()
    documents[0]["spec"]["serveConfigV2"] = documents[0]["spec"]["serveConfigV2"].replace("EveryNode", "HeadOnly")
    documents = patched(fill(config, documents), documents)
    assert served(documents).config["proxy_location"] == "EveryNode"
    assert worker(documents)["minReplicas"] == 4
    assert findings(documents) == []


def production() -> list[Document]:
    """The good objects, and of the workers three always run, of which two have to stay; two front doors."""
    documents = good()
    mistakes.front_doors(2)(documents)
    documents[0]["spec"]["excludeHeadPodFromServeSvc"] = True
    worker(documents).update(replicas=3, minReplicas=3, maxReplicas=6)
    named(documents, "PodDisruptionBudget")["minAvailable"] = 2
    return documents


def test_what_outlives_a_node_is_not_lost_without_a_word(tmp_path: Path) -> None:
    filled = fill(write(tmp_path / "c.yaml"), production())
    documents = patched(filled, production())
    assert served(documents).application["args"]["http"] == {"max_body": "4MiB", "front_doors": 2}
    assert (worker(documents)["minReplicas"], worker(documents)["maxReplicas"]) == (3, 5)
    assert named(documents, "PodDisruptionBudget")["minAvailable"] == 2
    assert filled.notes[0] == "http.front_doors: 2, as in the overlay."
    assert "2 would do, and as in the overlay 3 always run" in filled.notes[1]
    assert findings(documents) == []


def test_the_configuration_s_own_word_about_front_doors_counts(tmp_path: Path) -> None:
    filled = fill(write(tmp_path / "c.yaml", http={"front_doors": 3}), production())
    assert served(patched(filled, production())).application["args"]["http"] == {"front_doors": 3}
    filled = fill(write(tmp_path / "c.yaml", http={"front_doors": 1}), production())
    assert not any("front_doors" in note for note in filled.notes)
    assert {one.rule for one in findings(patched(filled, production()))} == {"front-doors"}


def test_gpus_are_taken_from_groups_that_have_them(tmp_path: Path) -> None:
    config = write(
        tmp_path / "c.yaml", **variant(stages={"balance": [2, 1], "num_gpus": 1}, replicas={"min": 1, "max": 3})
    )
    with pytest.raises(ConfigError, match="take an overlay with GPUs"):
        fill(config)
    documents = good()
    cluster = documents[0]["spec"]["rayClusterConfig"]
    for name, most in (("l4", 4), ("a100", 2)):
        group = good()[0]["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
        limits = {**group["template"]["spec"]["containers"][0]["resources"]["limits"], "nvidia.com/gpu": "1"}
        group["template"]["spec"]["containers"][0]["resources"]["limits"] = limits
        cluster["workerGroupSpecs"].append({**group, "groupName": name, "maxReplicas": most})
    patched(fill(config, documents), documents)
    counts = {one["groupName"]: (one["minReplicas"], one["maxReplicas"]) for one in cluster["workerGroupSpecs"]}
    # The overlay's limit of the first type holds; what is not needed may still come.
    assert counts == {"cpu": (0, 2), "l4": (2, 4), "a100": (0, 2)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"http": {"host": "127.0.0.1"}}, "nobody outside of the pod"),
        ({"http": {"host": "localhost"}}, "nobody outside of the pod"),
        ({"http": {"port": 9000}}, "http.port is 9000"),
        (variant(cores=None), "small:bf16 leave `cores` open"),
    ],
)
def test_what_works_on_one_machine_only_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    if "models" in changes:
        del changes["models"][0]["variants"][0]["cores"]
    with pytest.raises(ConfigError, match=says):
        fill(write(tmp_path / "c.yaml", **changes))


def test_paths_that_no_pod_has_are_refused_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    changes = variant(prepared="prepared")
    changes["models"][0]["source"] = "/data/model"
    with pytest.raises(ConfigError) as caught:
        fill(write(tmp_path / "c.yaml", **changes))
    lines = caught.value.message.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{tmp_path}/c.yaml:") for line in lines)
    assert "/data/model exists in no pod" in lines[0]


def test_paths_on_volumes_and_in_the_package_are_kept(tmp_path: Path) -> None:
    changes = variant(prepared=str(PACKAGE / "demo" / "variant"))
    changes["models"][0]["source"] = "/models/small"
    documents = patched(fill(write(tmp_path / "c.yaml", **changes)), good())
    [model] = served(documents).application["args"]["models"]
    assert (model["source"], model["variants"][0]["prepared"]) == ("/models/small", "demo/variant")


def test_an_overlay_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="There is no overlay nowhere"):
        render.overlay_folder("nowhere")


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """A folder that kustomize can build."""
    folder = tmp_path / "platform" / "overlay"
    folder.mkdir(parents=True)
    (folder / "all.yaml").write_text(yaml.safe_dump_all(good()), encoding="utf-8")
    (folder / "kustomization.yaml").write_text("resources: [all.yaml]\nnamespace: here\n", encoding="utf-8")
    return folder


def test_the_folder_and_the_stream_come_to_the_same(kubectl: Program, tmp_path: Path, overlay: Path) -> None:
    filled = render.fill(load_settings(write(tmp_path / "c.yaml")), tmp_path / "c.yaml", str(overlay))
    files = filled.write(tmp_path / "team" / "filled")
    assert [path.name for path in files] == ["kustomization.yaml", "rayservice.yaml", "disruption-budgets.yaml"]
    assert "serveConfigV2\n  value: |" in files[1].read_text(encoding="utf-8")
    built = kustomize(tmp_path / "team" / "filled")
    assert built == filled.stream()
    objects = load_objects(built, "built")
    assert {one.data["metadata"]["namespace"] for one in objects} == {"here"}
    assert findings([one.data for one in objects]) == []


def test_a_filled_overlay_fails_where_the_one_below_has_other_groups(
    kubectl: Program, tmp_path: Path, overlay: Path
) -> None:
    filled = render.fill(load_settings(write(tmp_path / "c.yaml")), tmp_path / "c.yaml", str(overlay))
    filled.write(tmp_path / "filled")
    documents = good()
    worker(documents)["groupName"] = "other"
    (overlay / "all.yaml").write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    with pytest.raises(ConfigError, match="groupName"):
        kustomize(tmp_path / "filled")
