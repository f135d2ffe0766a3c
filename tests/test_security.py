"""No file that is read may run code or choose where bytes are written: looked for in the source, everywhere."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("aejax/**/*.py"), *ROOT.glob("experiments/**/*.py")])
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
# Of any object: the name is what counts.
CALLS = {"read_pickle", "extractall", "extract", "unpack_archive", "eval", "exec", "system", "popen"}


def dangers(source: str) -> list[str]:
    """What in a program loads pickles, unpacks archives by the paths in them, or runs text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in PICKLES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            owner = node.func.value if isinstance(node.func, ast.Attribute) else None
            set_to = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            if name in CALLS or (getattr(owner, "id", ""), name) == ("torch", "load"):
                found.append(name)
            found += [k.arg for k in node.keywords if k.arg == "allow_pickle" and set_to.get(k.arg) is not False]
            found += ["shell"] * (set_to.get("shell") is True)
    return found


def test_only_the_pinned_mirror_is_a_pickle() -> None:
    assert {file.relative_to(ROOT).as_posix(): found for file in FILES if (found := dangers(file.read_text()))} == {
        "aejax/data/mirrors.py": ["pickle"]
    }


def test_the_mirror_is_read_by_the_restricted_unpickler_alone() -> None:
    tree = ast.parse((ROOT / "aejax/data/mirrors.py").read_text())
    nodes = list(ast.walk(tree))
    used = {n.attr for n in nodes if isinstance(n, ast.Attribute) and getattr(n.value, "id", "") == "pickle"}
    assert used == {"Unpickler", "UnpicklingError"}
    bases = {n.name: [ast.unparse(base) for base in n.bases] for n in nodes if isinstance(n, ast.ClassDef)}
    assert [name for name, of in bases.items() if "pickle.Unpickler" in of] == ["_ArrayUnpickler"]
    called = [ast.unparse(n.func) for n in nodes if isinstance(n, ast.Call)]
    assert called.count("_ArrayUnpickler") == 1
    assert "pickle.Unpickler" not in called


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(f)",
        "from pickle import loads",
        "def f():\n    import joblib",
        "np.load(f, allow_pickle=True)",
        "np.load(f, allow_pickle=flag)",
        "torch.load(f)",
        "pandas.read_pickle(f)",
        "tarfile.open(f).extractall(folder)",
        "archive.extract(member)",
        "shutil.unpack_archive(f)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
    ],
)
def test_a_danger_would_be_noticed(source: str) -> None:
    assert dangers(source)
