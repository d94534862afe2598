"""The rules of the house that a program can check by reading the code: who imports whom, and what nobody does."""

import ast
import functools
import re
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import hf_polyglot
import hf_polyglot.models
from hf_polyglot import auto_classes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "hf_polyglot"
PACKAGE_FILES = sorted(PACKAGE.rglob("*.py"))
MODEL_FILES = sorted((PACKAGE / "models").rglob("*.py"))
RECIPE_FILES = sorted((REPOSITORY / "recipes").rglob("*.py"))

# Each layer may import itself and those further down. The packages of one layer do not know each other.
LAYERS = [
    {"training", "inference", "analysis"},
    {"adapters"},
    {"model_card"},
    {"result_tables"},
    {"sentence_counts"},
    {"joined_results", "joint_tasks"},
    {"results"},
    {"tasks"},
    {"word_metrics"},
    {"span_metrics", "conllu_metrics"},
    {"data"},
    {"model_files", "compact_encoder"},
    {"auto_classes"},
    {"models"},
]
# Third-party imports of models/ that hold wherever transformers is installed: it needs all but torch itself.
ALLOWED_IN_MODELS = {"torch", "numpy", "transformers", "tokenizers", "safetensors", "huggingface_hub"}
# What a distribution is called where its name differs from the module's.
DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml"}
PICKLE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
BANNED_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py"}


# Kernels of the CRF: their decorators are of packages that take time to import, and are not always there.
MADE_OF_EXTRAS = {".crf_triton": "triton", ".crf_forward_backward": "numba"}


class Import(NamedTuple):
    """One imported module (`.crf`, `hf_polyglot.models.crf`), what is taken from it, and where that stands."""

    module: str
    names: tuple[str, ...]
    line: int
    in_function: bool
    in_try: bool

    @property
    def root(self) -> str:
        return self.module.split(".")[0]


def imports(source: str) -> list[Import]:
    """Every import statement of a file, those inside functions, classes and `try` included."""
    found = []

    def visit(node: ast.AST, in_function: bool, in_try: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, (), node.lineno, in_function, in_try) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = tuple(alias.name for alias in node.names)
            found.append(Import(module, names, node.lineno, in_function, in_try))
        in_function = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        in_try = in_try or isinstance(node, ast.Try)
        # What only type checkers read of others needs no installation either.
        in_function = in_function or (
            isinstance(node, ast.If)
            and ast.unparse(node.test) == "TYPE_CHECKING"
            and isinstance(node.body[0], ast.Import)
        )
        for child in ast.iter_child_nodes(node):
            visit(child, in_function, in_try)

    visit(ast.parse(source), in_function=False, in_try=False)
    return found


@functools.cache
def imports_of(path: Path) -> list[Import]:
    return imports(path.read_text(encoding="utf-8"))


def our_modules(path: Path) -> list[str]:
    """Modules of ours that a file imports, by absolute name; `from hf_polyglot import x` counts as `hf_polyglot.x`."""
    modules = []
    for found in imports_of(path):
        if found.module.startswith("."):
            package = path.relative_to(REPOSITORY).parent.parts
            dots = len(found.module) - len(found.module.lstrip("."))
            modules.append(".".join((*package[: len(package) - dots + 1], found.module.lstrip("."))).rstrip("."))
        elif found.root == "hf_polyglot":
            taken = found.names if found.module == "hf_polyglot" else ()
            modules += [f"hf_polyglot.{name}" for name in taken] or [found.module]
    return modules


def third_party(path: Path) -> list[Import]:
    """Imports that are neither ours nor of the standard library."""
    ours = {"", "hf_polyglot"}  # A relative import has an empty root.
    return [found for found in imports_of(path) if found.root not in ours | sys.stdlib_module_names]


def identify(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def layer_of(module: str) -> int | None:
    """Index of the layer that a module of ours belongs to, or None for the package itself."""
    parts = module.split(".")
    return next((depth for depth, layer in enumerate(LAYERS) if parts[1:2] and parts[1] in layer), None)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


def test_the_files_of_the_package_are_found():
    names = {identify(path) for path in PACKAGE_FILES}

    assert {"hf_polyglot/__init__.py", "hf_polyglot/models/crf.py", "hf_polyglot/data/conll.py"} <= names
    assert {"slicer.py", "byte_crf.py"} <= {path.name for path in RECIPE_FILES}


def test_imports_of_every_form_are_seen():
    source = (
        "import a.b, c\ndef f():\n    from .d import e\ntry:\n    from . import g\nexcept ImportError:\n    pass\n"
    )

    assert imports(source) == [
        Import("a.b", (), 1, in_function=False, in_try=False),
        Import("c", (), 1, in_function=False, in_try=False),
        Import(".d", ("e",), 3, in_function=True, in_try=False),
        Import(".", ("g",), 5, in_function=False, in_try=True),
    ]


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=identify)
def test_imports_point_downwards(path):
    own = module_of(path)
    if own == "hf_polyglot.__init__":
        return  # The map of the package may name everything.
    assert layer_of(own) is not None, f"{identify(path)} belongs to no layer. Name it in LAYERS of this test."

    for module in our_modules(path):
        if module == "hf_polyglot":
            continue  # test_the_package_itself_is_asked_for_its_version_only looks after it.
        depth = layer_of(module)
        assert depth is not None, f"{identify(path)} imports {module}; expected a module of one layer"
        assert depth > layer_of(own) or module.split(".")[1] == own.split(".")[1], f"{identify(path)} imports {module}"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=identify)
def test_the_package_itself_is_asked_for_its_version_only(path):
    # `import hf_polyglot` inside the package would be a way round the layers.
    asked = [
        node.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "hf_polyglot"
    ]

    assert set(asked) <= {"__version__"}


@pytest.mark.parametrize("path", PACKAGE_FILES + RECIPE_FILES, ids=identify)
def test_nothing_below_imports_the_recipes_the_tests_or_the_benchmarks(path):
    # Recipes import the package and never each other; what two of them need belongs in the package.
    forbidden = {"recipes", "tests", "benchmarks"} | {recipe.stem for recipe in RECIPE_FILES} - {"evaluate"}

    assert not [found for found in imports_of(path) if found.root in forbidden]


@pytest.mark.parametrize("path", sorted(set(PACKAGE_FILES) - set(MODEL_FILES)), ids=identify)
def test_only_models_import_relatively(path):
    assert not [found for found in imports_of(path) if found.module.startswith(".")]


def test_models_is_one_flat_folder():
    assert not [path for path in MODEL_FILES if path.parent != PACKAGE / "models"]


@pytest.mark.parametrize("path", MODEL_FILES, ids=identify)
def test_models_import_only_their_siblings(path):
    # `save_pretrained` copies `from .sibling import name` and nothing else of ours; any other form saves a folder that
    # loads only where this package is installed.
    siblings = {f".{sibling.stem}" for sibling in MODEL_FILES}

    ours = [found for found in imports_of(path) if found.module.startswith((".", "hf_polyglot"))]

    assert all(found.module in siblings and found.names for found in ours), ours


@pytest.mark.parametrize("path", MODEL_FILES, ids=identify)
def test_models_import_only_what_every_transformers_installation_has(path):
    foreign = [found for found in third_party(path) if found.root not in ALLOWED_IN_MODELS and not found.in_try]

    assert not foreign


@pytest.mark.parametrize("path", MODEL_FILES, ids=identify)
def test_no_text_in_models_looks_like_an_import_of_a_sibling(path):
    # transformers finds siblings with these expressions, in docstrings as well as in code.
    text = path.read_text(encoding="utf-8")
    seen = re.findall(r"^\s*import\s+\.(\S+)\s*$", text, re.MULTILINE)
    seen += re.findall(r"^\s*from\s+\.(\S+)\s+import", text, re.MULTILINE)

    assert sorted(seen) == sorted(found.module[1:] for found in imports_of(path) if found.module.startswith("."))


@pytest.mark.parametrize("path", PACKAGE_FILES + RECIPE_FILES, ids=identify)
def test_our_own_modules_are_imported_at_the_top(path):
    # An import inside a function hides a cycle. Modules that are made of an extra are imported where they are used.
    hidden = [found for found in imports_of(path) if found.in_function and found.module not in MADE_OF_EXTRAS]

    assert not [found for found in hidden if found.module.startswith((".", "hf_polyglot"))]


@pytest.mark.parametrize(("module", "extra"), MADE_OF_EXTRAS.items())
def test_modules_that_are_made_of_an_extra_try_to_import_it(module, extra):
    path = PACKAGE / "models" / f"{module[1:]}.py"

    assert extra in {found.root for found in imports_of(path) if found.in_try and not found.in_function}
    assert not [found for found in imports_of(path) if found.in_function]


def test_no_file_is_named_for_being_useful():
    folders = (PACKAGE, REPOSITORY / "recipes", REPOSITORY / "benchmarks")

    assert not [path for folder in folders for path in folder.rglob("*.py") if path.name in BANNED_NAMES]


@pytest.mark.parametrize("path", PACKAGE_FILES + RECIPE_FILES, ids=identify)
def test_nothing_that_was_downloaded_is_executed(path):
    # Pickles run code when they are read, and so does a model folder with trust_remote_code: the user's own choice.
    assert not [found for found in imports_of(path) if found.root in PICKLE_MODULES]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in {"torch.load", "torch.save", "eval", "exec"}, f"line {node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            assert not (isinstance(node.value, ast.Constant) and node.value.value), f"line {node.lineno}"
        if isinstance(node, ast.keyword):
            assert node.arg != "allow_pickle", f"line {node.lineno}"


@functools.cache
def project() -> dict:
    """The `project` table of pyproject.toml."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def distributions(requirements: Iterable[str]) -> set[str]:
    """Names of the distributions that are required."""
    return {re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def needed(found: Import) -> str:
    """Name of the distribution that holds an imported module."""
    return DISTRIBUTIONS.get(found.root, found.root).replace("_", "-")


def test_every_import_of_the_package_is_declared():
    used = {
        needed(found)
        for path in PACKAGE_FILES
        for found in third_party(path)
        if not found.in_try and not found.in_function
    }

    assert {"torch", "transformers"} <= used
    assert used <= distributions(project()["dependencies"])


def test_every_declared_dependency_is_imported():
    # accelerate is the Trainer's own requirement, and the recipes are started with it.
    used = {needed(found) for path in PACKAGE_FILES for found in third_party(path)} | {"accelerate"}

    assert distributions(project()["dependencies"]) <= used


def test_imports_inside_functions_are_declared_as_extras_at_least():
    extras = [
        requirement for requirements in project()["optional-dependencies"].values() for requirement in requirements
    ]

    used = {needed(found) for path in PACKAGE_FILES + RECIPE_FILES for found in third_party(path)}

    assert used <= distributions(project()["dependencies"] + extras)


def test_the_version_is_one():
    (version,) = re.findall(
        r'^__version__ = "(.*)"$', (PACKAGE / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE
    )

    assert version == project()["version"]


IMPORT_PROGRAM = """
import os, random, sys, threading
import numpy, torch, transformers, datasets
from transformers import PreTrainedModel, TokenizersBackend, Trainer, pipeline

sockets = []
sys.addaudithook(lambda event, arguments: sockets.append(event) if event.startswith("socket.") else None)


def state():
    return {
        "environment": dict(os.environ),
        "random": random.getstate(),
        "numpy": repr(numpy.random.get_state()),
        "torch": torch.random.get_rng_state().tolist(),
        "torch threads": torch.get_num_threads(),
        "torch defaults": (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()),
        "logging": (transformers.logging.get_verbosity(), datasets.logging.get_verbosity()),
        "threads": threading.active_count(),
        "folder": os.getcwd(),
    }


before = state()
sys.modules["scipy"] = None  # an extra, and slow to import
import hf_polyglot

assert not sockets, sockets
after = state()
changed = [name for name in before if before[name] != after[name]]
assert not changed, changed
"""


def test_importing_changes_nothing_outside_the_package():
    # The libraries are imported first: what they do on import is theirs.
    result = subprocess.run([sys.executable, "-c", IMPORT_PROGRAM], cwd=REPOSITORY, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr


REGISTER_PROGRAM = """
import sys
import transformers
FIRST
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoModelForTokenClassification, AutoTokenizer
import hf_polyglot.models as models
for kind, taggers in {
    "ByteCRF": [AutoModelForTokenClassification],
    "ByteToSpan": [AutoModelForTokenClassification, AutoModelForSeq2SeqLM],
    "CharNER": [AutoModelForTokenClassification],
    "EncoderCRF": [AutoModelForTokenClassification],
    "MetaLSTM": [AutoModelForTokenClassification],
    "Slicer": [AutoModelForTokenClassification],
}.items():
    config = getattr(models, f"{kind}Config")
    assert type(AutoConfig.for_model(config.model_type)) is config
    assert AutoModel._model_mapping[config] is getattr(models, f"{kind}Model")
    for tagger in taggers:
        assert tagger._model_mapping[config].__name__.startswith(kind)
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING
assert TOKENIZER_MAPPING[models.CharNERConfig] is models.SpellingTokenizer
assert TOKENIZER_MAPPING[models.MetaLSTMConfig] is models.WordSpellingTokenizer
assert not [finder for finder in sys.meta_path if type(finder).__module__ == "hf_polyglot.auto_classes"]
assert not {"evaluate", "matplotlib"} & set(sys.modules)
"""
NOTHING_HEAVY = """import hf_polyglot
heavy = {"torch", "datasets", "evaluate", "peft", "matplotlib", "numba", "accelerate"}
assert not heavy & set(sys.modules)
assert hf_polyglot.models.crf.LinearChainCRF is hf_polyglot.LinearChainCRF
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    [
        "import hf_polyglot; from transformers import AutoTokenizer",
        "import hf_polyglot; from transformers import Trainer",
        NOTHING_HEAVY + "hf_polyglot.CharNERConfig()",
        "from transformers import AutoModelForTokenClassification; import hf_polyglot",
    ],
    ids=["tokenizers first", "trainer first", "own classes first", "package last"],
)
def test_models_are_registered_whatever_is_imported_first(first):
    program = REGISTER_PROGRAM.replace("FIRST", first)

    result = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("package", [hf_polyglot, hf_polyglot.models], ids=lambda package: package.__name__)
def test_all_names_of_the_package_are_there(package):
    assert all(hasattr(package, name) for name in package.__all__)
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.slow
def test_modules_run_as_programs():
    command = [sys.executable, "-W", "ignore", "-m", "hf_polyglot.model_card", "--help"]

    assert subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout


def test_a_registration_that_is_interrupted_is_tried_again(monkeypatch):
    tried = []

    def register():
        tried.append(len(tried))
        if len(tried) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(auto_classes, "STEPS", {"json": register, "no.such.module": register})
    finder = auto_classes._Finder()
    with pytest.raises(KeyboardInterrupt):
        finder.register()

    with finder.importing("some.module"), finder.importing("json"):
        pass  # json is there, and so it is registered, but not before the outermost import ends

    assert tried == [0, 1]
    assert list(finder.waiting) == ["no.such.module"]


def test_unknown_names_are_no_part_of_the_package():
    for module in (hf_polyglot, hf_polyglot.models):
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'ByteCFR'"):
            module.ByteCFR  # noqa: B018
        assert {"ByteCRFConfig", "SlicerModel"} <= set(dir(module))


def test_the_tests_reach_no_other_machine():
    with pytest.raises(RuntimeError, match=r"A test tried to reach `hub\.invalid`"):
        socket.create_connection(("hub.invalid", 443))

    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def public_definitions(tree: ast.Module | ast.ClassDef) -> Iterator[ast.AST]:
    """Public classes and functions of a module, and the public methods of those classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=identify)
def test_everything_public_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))

    # The validators of a configuration are called by transformers alone; their names and messages say what they check.
    bare = [node.name for node in public_definitions(tree) if not ast.get_docstring(node)]

    assert ast.get_docstring(tree), "the module has no docstring"
    assert [name for name in bare if not name.startswith("validate_")] == []


@pytest.mark.parametrize("path", RECIPE_FILES, ids=identify)
def test_every_recipe_says_how_it_is_run(path):
    documentation = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""

    assert f"recipes/{path.name}" in documentation
