"""`datasets.yaml` and `--set`: what is wrong is told with its line, its key and what is allowed."""

from pathlib import Path
from textwrap import dedent

import pytest

from autosing.pipeline.settings import DatasetEntry, Project, load_project, parse_override, parse_project
from autosing.pipeline.stages import STAGES
from autosing.pipeline.stages.mel import Mel
from autosing.signal.errors import UsageError

ENTRY = DatasetEntry("set", name="set")


def refusal(text: str) -> str:
    """Returns the message by which the text of a settings file is refused."""
    with pytest.raises(UsageError) as refused:
        parse_project(dedent(text).lstrip())
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "place", "key", "allowed"),
    [
        ("dataset:\n  a: {path: x}", 1, "'dataset' is unknown", "datasets, stages, samples"),
        ("- a", 1, "the file: expected names with settings", "['a']"),
        ("3: x", 1, "the file: 3 is unknown", "datasets, stages, samples"),
        ("datasets: [a]", 1, "datasets: expected names with settings", "['a']"),
        ("datasets:\n  a: x", 2, "datasets.a: expected names with settings", "'x'"),
        ("datasets:\n  a:\n    path: x\n    pth: y", 4, "datasets.a.pth: unknown", "format, group"),
        ("datasets:\n  a: {path: 3}", 2, "datasets.a.path: 3", "valid string"),
        ("datasets:\n  a: {path: x, weight: heavy}", 2, "datasets.a.weight: 'heavy'", "valid number"),
        ("datasets:\n  a: {path: x, voice: stem}", 2, "datasets.a.voice: 'stem'", "'index', 'stems' or 'denoised'"),
        ("datasets:\n  a: {path: x, name: b}", 2, "datasets.a.name: unknown", "named by its key, a"),
        ("stages:\n  f0: {}\n  f1: {}", 3, "the stage 'f1' is unknown", ", ".join(sorted(STAGES))),
        ("stages:\n  .a: {}", 2, "the stage '' is unknown", ", ".join(sorted(STAGES))),
        ("stages:\n  index: {}", 2, "the stage 'index' is unknown", ", ".join(sorted(STAGES))),
        ("stages:\n  f0:\n    hop: 3", 3, "stages.f0.hop: unknown", "audio, fmax_hz, fmin_hz, method"),
        ("stages:\n  f0:\n    method: yin", 3, "stages.f0.method: 'yin'", "'swift', 'praat', 'dio' or 'harvest'"),
        ("stages:\n  f0.b:\n\n    fmin_hz: low", 4, "stages.f0.b.fmin_hz: 'low'", "valid number"),
        ("stages:\n  ssl: {layers: [1, x]}", 2, "stages.ssl.layers: [1, 'x']", "valid integer"),
        ("stages:\n  mel: {spec: 3}", 2, "stages.mel.spec: 3", "MelSpec"),
        ("stages:\n  f0: {keep: 'no'}", 2, "stages.f0.keep: 'no'", "true or false"),
        ("stages:\n  f0: 3", 2, "stages.f0: expected names with settings", "3"),
        ("stages:\n  f0.a/b: {}", 2, "stages.f0.a/b: a label is of", "letters, digits"),
        ("stages:\n  f0.../../x: {}", 2, "stages.f0.../../x: a label is of", "letters, digits"),
        ("stages:\n  f0: {}\n  f0: {}", 3, "stages.f0 is there twice", ""),
        ("stages: {f0: {method: dio, method: dio}}", 1, "stages.f0.method is there twice", ""),
        ("samples:\n  x: {columns: [mel.mel], shuffle: 1}", 2, "samples.x.shuffle: unknown", "audio, columns, cuts"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_line_key_and_what_is_allowed(
    text: str, place: int, key: str, allowed: str
) -> None:
    message = refusal(text)
    assert message.startswith(f"datasets.yaml:{place}: ") and key in message and allowed in message


def test_a_file_that_is_no_yaml_is_refused() -> None:
    assert "datasets.yaml is no valid YAML" in refusal("stages: [")


def test_a_file_can_make_no_python_object() -> None:
    assert "is no valid YAML" in refusal("stages: !!python/object/apply:os.system ['true']")


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist; give an existing settings file with --config"):
        load_project(str(tmp_path / "none.yaml"))
    (tmp_path / "latin.yaml").write_bytes("datasets: {ä: {path: x}}".encode("latin-1"))
    with pytest.raises(UsageError, match="is no UTF-8 text"):
        load_project(str(tmp_path / "latin.yaml"))


@pytest.mark.parametrize("text", ["", "datasets:\n", "# nothing\n", "{}"])
def test_an_empty_file_says_nothing(text: str) -> None:
    project = parse_project(text)
    assert not project.datasets and not project.stages and not project.samples
    assert project.graph(ENTRY).names == sorted(STAGES)


def test_an_instance_is_a_stage_with_a_label_and_settings_of_its_own() -> None:
    project = parse_project("stages: {f0.praat: {method: praat, keep: false}, ssl.contentvec.v2: {layers: [3]}}")
    graph = project.graph(ENTRY)
    assert graph["f0.praat"].stage.settings()["method"] == "praat" and not graph["f0.praat"].keep
    assert graph["f0"].stage.settings()["method"] == "swift" and graph["f0"].keep
    assert graph["ssl.contentvec.v2"].stage_name == "ssl"
    assert graph["ssl.contentvec.v2"].stage.settings()["layers"] == [3]


def test_instances_read_the_instances_that_they_name() -> None:
    project = parse_project("stages: {energy.soft: {}, cuts: {energy: energy.soft}}")
    closure = sorted(project.graph(ENTRY).closure(["cuts"]))
    assert closure == ["align", "cuts", "energy.soft", "lyric_language", "lyric_mel", "probe"]


def test_a_dataset_is_a_name_in_the_file_or_a_path() -> None:
    project = parse_project("datasets: {songs: {path: s3://bucket/songs, voice: stems}}")
    assert project.dataset("songs") == DatasetEntry("s3://bucket/songs", voice="stems", name="songs")
    assert project.dataset("data/songs/") == DatasetEntry("data/songs/", name="songs")
    assert project.graph(project.dataset("songs")).audio_addresses["voice"] == "stems.vocals"


def test_stages_that_read_each_other_in_a_circle_are_told() -> None:
    graph = Project().graph(ENTRY, ["cuts.energy=cuts"])
    with pytest.raises(UsageError, match="read each other in a circle: cuts -> cuts"):
        graph.closure(["cuts"])


def test_an_input_that_no_stage_gives_is_told_with_those_that_there_are() -> None:
    graph = Project().graph(ENTRY, ["cuts.energy=energy.soft"])
    with pytest.raises(UsageError, match=r"cuts reads energy\.soft, .*known: align, codes, content, cuts, denoise,"):
        graph.closure(["cuts"])


def test_an_input_that_has_no_such_column_is_told_with_those_that_it_has() -> None:
    graph = Project().graph(ENTRY, ["cuts.energy=f0"])
    with pytest.raises(UsageError, match=r"cuts reads f0\.energy, and f0 has only f0_hz, voiced, periodicity"):
        graph.check_reads("cuts")


@pytest.mark.parametrize(
    ("override", "parsed"),
    [
        ("f0.method=praat", ("f0", "method", "praat")),
        ("f0.praat.fmin_hz=60", ("f0.praat", "fmin_hz", 60)),
        ("ssl.layers=[1, 2]", ("ssl", "layers", [1, 2])),
        ("mel.spec={n_mels: 80}", ("mel", "spec", {"n_mels": 80})),
        ("ssl.model=a/b=c", ("ssl", "model", "a/b=c")),
        ("f0.keep=false", ("f0", "keep", False)),
        ("cuts.activity=", ("cuts", "activity", "")),
        ("f0.method=null", ("f0", "method", None)),
    ],
)
def test_an_override_names_an_instance_and_a_field(override: str, parsed: tuple[str, str, object]) -> None:
    assert parse_override(override) == parsed


@pytest.mark.parametrize("override", ["f0=praat", "f0.method", "=x", ".method=praat", "", "f0.method: praat"])
def test_an_override_of_another_form_is_refused_with_an_example(override: str) -> None:
    with pytest.raises(UsageError, match=r"expected INSTANCE\.FIELD=VALUE, e\.g\. f0\.method=praat"):
        parse_override(override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("f0.method=yin", r"stages\.f0\.method: 'yin' does not fit: .*'swift', 'praat'"),
        ("f0.method=", r"stages\.f0\.method: '' does not fit"),
        ("f0.method=[", "the value is no valid YAML"),
        ("f0.hop=1", r"stages\.f0\.hop: unknown; known: audio"),
        ("f1.method=dio", "the stage 'f1' is unknown; known: align"),
        ("f0.keep=3", r"stages\.f0\.keep: 3 is not true or false"),
        ("f0./x.method=dio", "a label is of letters, digits"),
        ("f0.fmin_hz=0", "f0: from fmin_hz 0 to fmax_hz 1100: give 0 < fmin_hz < fmax_hz"),
        ("f0.fmin_hz=2000", "f0: from fmin_hz 2000 to fmax_hz 1100"),
        ("units.k=70000", "units: k=70000; it must be 1 to 65536"),
        ("tokens.seed=-1", "tokens: seed=-1; it must be 0 to 2147483647"),
    ],
)
def test_an_override_that_does_not_fit_is_refused(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Project().graph(ENTRY, [override])


def test_an_override_wins_over_the_file_and_leaves_the_file_as_it_was() -> None:
    project = parse_project("stages: {f0: {method: dio, fmin_hz: 60}}")
    settings = project.graph(ENTRY, ["f0.method=praat"])["f0"].stage.settings()
    assert (settings["method"], settings["fmin_hz"]) == ("praat", 60)
    assert project.graph(ENTRY)["f0"].stage.settings()["method"] == "dio"


def test_an_override_reaches_a_part_of_a_field_and_leaves_the_others() -> None:
    project = parse_project("stages:\n  mel: {spec: {n_mels: 80}}\n  mel.fine: {}")
    graph = project.graph(ENTRY, ["mel.spec.hop=320", "mel.fine.spec.hop=128", "f0.new.method=praat"])
    mel, fine = graph["mel"].stage, graph["mel.fine"].stage
    assert isinstance(mel, Mel) and (mel.spec.n_mels, mel.spec.hop) == (80, 320)
    assert isinstance(fine, Mel) and (fine.spec.n_mels, fine.spec.hop) == (100, 128)
    assert graph["f0.new"].stage.settings()["method"] == "praat"
    with pytest.raises(UsageError, match=r"stages\.mel\.spec"):
        project.graph(ENTRY, ["mel.spec.hops=320"])
    assert project.stages["mel"]["spec"] == {"n_mels": 80}
