from __future__ import annotations

from pathlib import Path

import pytest

from deployments.routing.prediction import Objective
from deployments.settings import DEMO_CONFIG, Settings, Stages, load_settings
from deployments.settings.stages import DRIVER_CPUS
from engine.errors import ConfigError

MINIMAL = "models:\n  - name: tiny\n    source: ./tiny\n"


def load(folder: Path, text: str) -> Settings:
    path = folder / "stageline.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


def test_the_demo_configuration_is_valid() -> None:
    settings = load_settings(DEMO_CONFIG)
    assert [(model.name, model.task) for model in settings.models] == [
        ("smollm2", "text-generation"),
        ("intents", "text-classification"),
        ("minilm", "embedding"),
        ("en-de", "translation"),
    ]
    assert settings.models[0].variants[0].name == "bf16"
    assert settings.models[0].sha256 is not None
    assert settings.http.host == "127.0.0.1"


def test_everything_but_name_and_source_has_a_default(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL)
    model = settings.models[0]
    assert model.source == str(tmp_path / "tiny"), "a relative path counts from the file's folder"
    assert model.kv_cache == 512 << 20
    assert (model.variants[0].replicas.min, model.variants[0].replicas.max) == (1, 1)


def test_replicas_max_follows_min(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL + "    variants: [{precision: fp32, replicas: {min: 3}}]\n")
    assert settings.models[0].variants[0].replicas.max == 3


def test_sources_elsewhere_are_left_alone(tmp_path: Path) -> None:
    settings = load(tmp_path, "models: [{name: a, source: 'hf:org/name@main'}]")
    assert settings.models[0].source == "hf:org/name@main"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MINIMAL + "    kv_cash: 1GiB\n", "stageline.yaml:4: models[0].kv_cash: unknown key; did you mean 'kv_cache'?"),
        (MINIMAL + "htttp: {}\n", "stageline.yaml:4: htttp: unknown key; did you mean 'http'?"),
        (
            MINIMAL + "    variants:\n      - precision: bf16\n        colour: 2\n",
            "stageline.yaml:6: models[0].variants[0].colour: unknown key; known here: cores, precision, prepared, "
            "replicas, stages.",
        ),
        (
            MINIMAL + "    variants:\n      - {precision: bf16, replicas: {mim: 2}}\n",
            "stageline.yaml:5: models[0].variants[0].replicas.mim: unknown key; did you mean 'min'?",
        ),
    ],
)
def test_unknown_keys_name_line_path_and_nearest_name(tmp_path: Path, text: str, expected: str) -> None:
    assert complaint(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MINIMAL + "    max_queue: '7'\n", ":4: models[0].max_queue: input should be a valid integer, not '7'."),
        (MINIMAL + "    max_queue: 0\n", ":4: models[0].max_queue: input should be greater than or equal to 1, not 0."),
        (MINIMAL + "    kv_cache: lots\n", ":4: models[0].kv_cache: 'lots' is not a size; write it as 512MiB or 2GiB."),
        (MINIMAL + "    variants: []\n", ":4: models[0].variants: a list with at least one item is needed here."),
        (
            MINIMAL + "    variants: [{precision: int3}]\n",
            ":4: models[0].variants[0].precision: 'int3' is not one of 'fp32', 'bf16', 'int8-dynamic', 'int8-static', "
            "'int8-weight', 'int4-weight' or 'fp8'.",
        ),
        (
            MINIMAL + "    variants: [{precision: bf16, replicas: {min: 3, max: 2}}]\n",
            ":4: models[0].variants[0].replicas: max (2) is less than min (3).",
        ),
        (
            MINIMAL + "    variants: [{precision: bf16, replicas: {min: 0, max: 2}}]\n",
            ":2: models[0]: every variant has replicas.min 0; one must always run, to answer while others start.",
        ),
        (
            MINIMAL + "    variants: [{precision: bf16, replicas: {min: 1, idle_s: 60}}]\n",
            ":4: models[0].variants[0].replicas: idle_s means nothing where min is not 0; leave it out.",
        ),
        (
            MINIMAL + "    variants: [{precision: bf16}, {precision: bf16}]\n",
            ":2: models[0]: precision 'bf16' is there twice.",
        ),
        (MINIMAL + "  - name: tiny\n    source: x\n", ":1: file: name 'tiny' is there twice."),
        (MINIMAL + "http: {port: 70000}\n", ":4: http.port: input should be less than or equal to 65535, not 70000."),
        ("models:\n  - source: x\n", ":2: models[0].name: this key is needed."),
        ("models: 3\n", ":1: models: a list with at least one item is needed here."),
    ],
)
def test_wrong_values_name_their_line(tmp_path: Path, text: str, expected: str) -> None:
    assert complaint(tmp_path, text) == f"stageline.yaml{expected}"


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    lines = complaint(tmp_path, MINIMAL + "    max_queue: 0\n    foo: 1\nhttp: {port: 0}\n").splitlines()
    assert [line.split(": ")[1] for line in lines] == ["models[0].max_queue", "models[0].foo", "http.port"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "needs a key 'models'"),
        ("- 1\n", "needs a key 'models'"),
        ("models: [\n", "stageline.yaml:2: not valid YAML"),
        ("a: 1\na: 2\n", "stageline.yaml:2: a is there twice"),
        ("models: &a [*a]\n", "an alias refers to something that contains it"),
        ("models: \x00\n", "not valid YAML"),
        ("models: " + "[" * 5000, "nested too deeply"),
        ("models: !!python/object:os.system x\n", "not valid YAML"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in complaint(tmp_path, text)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(tmp_path / "nowhere.yaml")


def test_bytes_that_are_not_utf8_are_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"models: \xff\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(path)


def test_anchors_may_be_used(tmp_path: Path) -> None:
    text = "models:\n  - &a {name: a, source: x, max_queue: 3}\n  - {<<: *a, name: b}\n"
    assert [model.max_queue for model in load(tmp_path, text).models] == [3, 3]


def test_open_cores_are_shared_among_the_replicas(tmp_path: Path) -> None:
    text = (
        MINIMAL + "    variants:\n      - {precision: bf16, cores: 2}\n      - {precision: fp32, replicas: {min: 3}}\n"
    )
    settings = load(tmp_path, text)
    cores = [variant.cores for variant in settings.with_cores(8).models[0].variants]
    assert cores == [2, 2]
    assert settings.models[0].variants[1].cores is None, "the original is left as it was"


def test_variants_of_a_model_share_the_cores(tmp_path: Path) -> None:
    """While the first keeps up, the others have nothing to do: none of them holds a core back."""
    variants = "{precision: bf16}, {precision: fp32, replicas: {min: 0, max: 2}}, {precision: int8-dynamic}"
    settings = load(tmp_path, MINIMAL + f"    variants: [{variants}]\n")
    assert [variant.cores for variant in settings.with_cores(2).models[0].variants] == [2, 1, 2]
    assert [variant.cores for variant in settings.with_cores(64).models[0].variants] == [64, 32, 64]


def test_a_replica_reserves_so_much_that_all_find_a_place(tmp_path: Path) -> None:
    variants = "{precision: bf16, replicas: {min: 1, max: 2}}, {precision: fp32, replicas: {min: 0, max: 4}}"
    settings = load(tmp_path, MINIMAL + f"    variants: [{variants}]\n").with_cores(8)
    share = settings.reserved_share(8)
    assert sum(variant.replicas.max * (variant.cores or 0) * share for variant in settings.models[0].variants) == 8


def test_a_variant_may_sleep(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL + "    variants: [{precision: bf16}, {precision: fp32, replicas: {min: 0}}]\n")
    replicas = settings.models[0].variants[1].replicas
    assert (replicas.min, replicas.max, replicas.idle_s) == (0, 1, 300)


def test_different_models_share_the_cores(tmp_path: Path) -> None:
    settings = load(tmp_path, "models:\n" + "".join(f"  - {{name: m{i}, source: a}}\n" for i in range(3)))
    shared = settings.with_cores(2)
    assert [model.variants[0].cores for model in shared.models] == [2, 2, 2]
    assert shared.reserved_share(2) == pytest.approx(1 / 3)
    assert shared.reserved_share(16) == 1


def test_too_few_cores_are_refused_before_anything_starts(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL + "    variants: [{precision: bf16, replicas: {min: 3}}]\n")
    with pytest.raises(ConfigError, match="need 3 cores and there are 2"):
        settings.with_cores(2)


def test_the_engine_gets_what_the_file_says(tmp_path: Path) -> None:
    model = load(tmp_path, MINIMAL + "    kv_cache: 1GiB\n    max_queue: 9\n    max_running: 5\n").models[0]
    config = model.engine_config(model.variants[0], cores=3)
    assert (config.kv_cache_bytes, config.max_waiting, config.max_running, config.threads) == (1 << 30, 9, 5, 3)


def test_http_options_of_the_command_line_win_and_are_checked(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL)
    assert settings.with_http(port=9000).http.port == 9000
    assert settings.with_http(host="0.0.0.0").http.port == 8000
    with pytest.raises(ConfigError, match="--port"):
        settings.with_http(port=70000)


def test_what_is_left_open_depends_on_the_task(tmp_path: Path) -> None:
    classifier, translator = load(
        tmp_path,
        "models:\n  - {name: a, source: a, task: text-classification}\n  - {name: b, source: b, task: translation}\n",
    ).models
    assert (classifier.kv_cache, classifier.max_queue) == (0, 8192)
    assert (translator.kv_cache, translator.max_new_tokens) == (128 << 20, None)


@pytest.mark.parametrize(
    ("task", "key"),
    [
        ("text-classification", "kv_cache: 64MiB"),
        ("embedding", "max_running: 3"),
        ("translation", "prefix_cache: true"),
        ("text-generation", "languages: [en-de]"),
    ],
)
def test_a_key_that_means_nothing_for_the_task_is_refused(tmp_path: Path, task: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"'{key.partition(':')[0]}' means nothing for the task {task}"):
        load(tmp_path, f"models:\n  - name: a\n    source: a\n    task: {task}\n    {key}\n")


def test_objectives(tmp_path: Path) -> None:
    text = "models:\n  - {name: a, source: a%s}\n"

    def promised(rest: str) -> Objective:
        return load(tmp_path, text % rest).models[0].promised

    assert promised("") == Objective(0.5, 0.05)
    assert promised(", objective: {tpot_ms: 80}") == Objective(0.5, 0.08)
    assert promised(", task: embedding") == Objective(0.2)
    assert promised(", task: translation, objective: {latency_ms: 900}") == Objective(0.9)
    with pytest.raises(ConfigError, match=r"'objective\.latency_ms' means nothing for the task text-generation"):
        promised(", objective: {latency_ms: 900}")
    with pytest.raises(ConfigError, match=r"'objective\.ttft_ms' means nothing for the task embedding"):
        promised(", task: embedding, objective: {ttft_ms: 900}")
    for wrong in ("0", "-1", ".inf", "fast"):
        with pytest.raises(ConfigError, match=r"objective\.ttft_ms"):
            promised(f", objective: {{ttft_ms: {wrong}}}")
    with pytest.raises(ConfigError, match="did you mean 'ttft_ms'"):
        promised(", objective: {tttft_ms: 3}")


def test_languages_are_pairs(tmp_path: Path) -> None:
    text = "models:\n  - {name: a, source: a, task: translation, languages: [en-de, eng_Latn-deu_Latn]}\n"
    assert load(tmp_path, text).models[0].pairs == (("en", "de"), ("eng_Latn", "deu_Latn"))
    with pytest.raises(ConfigError, match="'english' is not a pair of languages"):
        load(tmp_path, text.replace("en-de", "english"))


def test_prepared_folders_count_from_the_files_folder(tmp_path: Path) -> None:
    variants = "    variants: [{precision: int8-static, prepared: made/static}, {precision: int4-weight}]\n"
    static, weight = load(tmp_path, MINIMAL + variants).models[0].variants
    assert static.prepared == str(tmp_path / "made" / "static")
    assert weight.prepared is None


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("{precision: fp32, prepared: made}", "fp32 is what others are measured against"),
        ("{precision: int8-static}", "int8-static needs scales from calibration"),
    ],
)
def test_variants_that_cannot_be(tmp_path: Path, variant: str, expected: str) -> None:
    assert expected in complaint(tmp_path, MINIMAL + f"    variants: [{variant}]\n")


def test_the_gate_has_defaults_and_bounds(tmp_path: Path) -> None:
    gate = load(tmp_path, MINIMAL + "    gate: {max_bleu_drop: 1}\n").models[0].gate
    assert (gate.max_bleu_drop, gate.max_perplexity_increase) == (1.0, 0.05)
    assert (gate.max_accuracy_drop, gate.min_cosine) == (0.005, 0.99)
    text = MINIMAL + "    gate: {max_blue_drop: 1}\n"
    assert complaint(tmp_path, text).endswith("gate.max_blue_drop: unknown key; did you mean 'max_bleu_drop'?")
    assert "gate.min_cosine: input should be less than or equal to 1" in complaint(
        tmp_path, MINIMAL + "    gate: {min_cosine: 2}\n"
    )


def stages_of(folder: Path, text: str) -> Stages:
    return load(folder, MINIMAL + f"    variants: [{{precision: bf16, stages: {text}}}]\n").models[0].variants[0].stages


def test_a_variant_has_one_stage_unless_the_file_says_more(tmp_path: Path) -> None:
    variant = load(tmp_path, MINIMAL).models[0].variants[0]
    assert (variant.stages.count, variant.stages.driver_cpus, variant.stages.device) == (1, 0.0, "cpu")
    assert stages_of(tmp_path, "1") == variant.stages


def test_stages_as_a_number_and_as_a_section(tmp_path: Path) -> None:
    assert stages_of(tmp_path, "2") == Stages(count=2)
    assert stages_of(tmp_path, "{balance: [2, 2, 2]}") == Stages(count=3, balance=(2, 2, 2))
    found = stages_of(tmp_path, "{count: 2, balance: [19, 11], placement: spread, num_gpus: 0.5, repair_limit_s: 30}")
    assert found == Stages(count=2, balance=(19, 11), placement="spread", num_gpus=0.5, repair_limit_s=30)
    assert (found.device, Stages(count=2).device) == ("cuda", "cpu")
    assert stages_of(tmp_path, "{balance: [2, 1], num_gpus: 2}").num_gpus == 2
    assert stages_of(tmp_path, "{count: 2, memory: 2GiB}").memory == 2 << 30


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "stages.count: input should be greater than or equal to 1, not 0."),
        ("two", "stages: a number of stages, or a section with 'count' or 'balance', is needed here."),
        ("true", "stages: a number of stages, or a section with 'count' or 'balance', is needed here."),
        ("[2, 2]", "stages: a number of stages, or a section with 'count' or 'balance', is needed here."),
        ("{counts: 2}", "stages.counts: unknown key; did you mean 'count'?"),
        ("{count: '2'}", "stages.count: input should be a valid integer, not '2'."),
        ("{balance: []}", "stages.balance: a list with at least one item is needed here."),
        ("{balance: [2, 0]}", "stages.balance[1]: input should be greater than or equal to 1, not 0."),
        (
            "{count: 3, balance: [2, 2]}",
            "stages: balance is for 2 stages and count is 3; one of both is enough.",
        ),
        ("{count: 2, placement: near}", "stages.placement: 'near' is not one of 'pack', 'spread', 'strict-pack' or"),
        ("{count: 2, num_gpus: -1}", "stages.num_gpus: input should be greater than or equal to 0, not -1."),
        ("{count: 2, num_gpus: 1.5}", "stages: num_gpus 1.5 is not possible: a share of one, or a whole number."),
        ("{count: 2, repair_limit_s: 0}", "stages.repair_limit_s: input should be greater than 0, not 0."),
        (
            "{placement: spread}",
            "stages: 'placement' means nothing for one stage; give a count of 2 or more, or leave it out.",
        ),
        ("{count: 2, num_gpus: 1}", "stages: num_gpus needs a balance: costs are measured on CPUs only."),
        ("{balance: [2, 1], memory: 2GiB}", "stages: memory means nothing beside a balance"),
        ("{count: 2, memory: 0}", "stages.memory: "),
        ("{count: 1, num_gpus: 1}", "stages: 'num_gpus' means nothing for one stage"),
    ],
)
def test_stages_that_make_no_sense_are_refused_with_their_line(tmp_path: Path, text: str, expected: str) -> None:
    told = complaint(tmp_path, MINIMAL + f"    variants:\n      - precision: bf16\n        stages: {text}\n")
    assert told.startswith(f"stageline.yaml:6: models[0].variants[0].{expected}")


def test_cores_are_those_of_each_stage(tmp_path: Path) -> None:
    variants = "{precision: bf16, stages: 2, replicas: {min: 1, max: 2}}, {precision: fp32, cores: 1, stages: 3}"
    settings = load(tmp_path, MINIMAL + f"    variants: [{variants}]\n")
    shared = settings.with_cores(16)
    assert [variant.cores for variant in shared.models[0].variants] == [(16 - 3) // 4, 1]
    with pytest.raises(ConfigError, match="need 5 cores and there are 4"):
        settings.with_cores(4)


def test_stages_and_what_feeds_them_find_a_place(tmp_path: Path) -> None:
    settings = load(tmp_path, MINIMAL + "    variants: [{precision: bf16, stages: 2, cores: 2}, {precision: fp32}]\n")
    shared = settings.with_cores(8)
    share = shared.reserved_share(8)
    wanted = sum(variant.most_processes * (variant.cores or 0) for variant in shared.models[0].variants)
    assert wanted * share + DRIVER_CPUS == pytest.approx(8)


def test_the_engine_computes_where_its_stages_do(tmp_path: Path) -> None:
    text = MINIMAL + "    variants: [{precision: bf16, stages: {balance: [2, 1], num_gpus: 0.5}}, {precision: fp32}]\n"
    model = load(tmp_path, text).models[0]
    assert [model.engine_config(variant, cores=1).device for variant in model.variants] == ["cuda", "cpu"]
