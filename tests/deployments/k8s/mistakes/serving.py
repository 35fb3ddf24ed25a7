"""In the configuration that is served, and in the workers that it needs."""

from __future__ import annotations

from tests.deployments.k8s.good import container, head, service_of, worker
from tests.deployments.k8s.mistakes.planted import Planted, cluster_of, config, front_doors, variant

SERVED = [
    Planted("serve-schema", "proxy_locations", config(lambda c: c.update(proxy_locations="HeadOnly"))),
    Planted("serve-schema", "http_options.prt", config(lambda c: c["http_options"].update(prt=8000))),
    Planted(
        "serve-schema", "applications[0].import_pth", config(lambda c: c["applications"][0].update(import_pth="x"))
    ),
    Planted("serve-schema", "proxy_location", config(lambda c: c.update(proxy_location="Everywhere"))),
    Planted("stageline-args", "did you mean 'cores'", variant(lambda v: v.update(core=2))),
    Planted("stageline-args", "needs `cores`", variant(lambda v: v.pop("cores"))),
    Planted("stageline-args", "with `models`", config(lambda c: c["applications"][0].pop("args"))),
    Planted("stageline-args", "name a file of API keys", config(lambda c: c["applications"][0]["args"].pop("access"))),
    Planted(
        "model-paths",
        "args.access.keys: /etc/keys.yaml",
        config(lambda c: c["applications"][0]["args"].update(access={"keys": "/etc/keys.yaml"})),
    ),
    Planted(
        "stageline-args",
        "args.http.host",
        config(lambda c: c["applications"][0]["args"].update(http={"host": "0.0.0.0"})),
    ),
    Planted(
        "front-doors",
        "3, one a node, and 2 nodes always run",
        front_doors(3),
    ),
    Planted("front-doors", "kept off the head", lambda d: service_of(d).update(excludeHeadPodFromServeSvc=True)),
    Planted(
        "front-doors",
        "when the head is lost",
        lambda d: cluster_of(d).update(gcsFaultToleranceOptions={"redisAddress": "redis:6379"}),
    ),
    Planted(
        "front-doors",
        "need EveryNode, not HeadOnly",
        config(
            lambda c: (
                c.update(proxy_location="HeadOnly"),
                c["applications"][0]["args"].update(http={"front_doors": 2}),
            )
        ),
    ),
    Planted(
        "import-path",
        "deployments.kuberay:app",
        config(lambda c: c["applications"][0].update(import_path="deployments.kuberay:app")),
    ),
    Planted("model-paths", "neither in the package", variant(lambda v: v.update(prepared="demo/nothing"))),
    Planted(
        "model-paths",
        "/data/model",
        config(lambda c: c["applications"][0]["args"]["models"][0].update(source="/data/model")),
    ),
    Planted("http-options", "127.0.0.1", config(lambda c: c["http_options"].pop("host"))),
    Planted("http-options", "listens at 8001", config(lambda c: c["http_options"].update(port=8001))),
    Planted("capacity", "needs 3 cores on one node", variant(lambda v: v.update(cores=3))),
    Planted("capacity", "maxReplicas 3 of cpu", variant(lambda v: v["replicas"].update(max=3))),
    Planted("capacity", "which always run", lambda d: worker(d).update(minReplicas=0)),
    Planted("capacity", "minReplicas 1 of cpu", lambda d: worker(d).pop("minReplicas")),
    Planted("capacity", "never be taken over", variant(lambda v: v["replicas"].update(min=2))),
    Planted("head-without-work", 'say "0"', lambda d: head(d).update(rayStartParams={})),
    Planted(
        "ray-cpus",
        "4 cores, and Ray offers 2",
        lambda d: container(worker(d)).update(
            resources={"requests": {"cpu": 4, "memory": "1Gi"}, "limits": {"cpu": 4, "memory": "1Gi"}}
        ),
    ),
]
