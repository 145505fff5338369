"""A network of the user's own: the family that is made from its signature, and where it is found."""

from __future__ import annotations

import inspect
import sys
from typing import Any, ClassVar, Final, Literal, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError

from tune_fmnist.base.errors import InputError, invalid
from tune_fmnist.base.importing import imported, is_own_name, name_of
from tune_fmnist.models.config import BUILT_IN, Config, add_family, family, known_family

OPTION: Final = "--model"

_SCALARS: Final = (bool, int, float, str)

GIVEN: Final = ("input_shape", "classes")
"""Parameters of a network that say what the images are; they are filled in where the signature names them."""


class OwnConfig(Config):
    """What the configurations of all networks of users have in common.

    Attributes:
        network: the class that is searched, a ``torch.nn.Module``.
    """

    # Its fields are named by the user.
    model_config = ConfigDict(protected_namespaces=(), validate_default=True)

    network: ClassVar[type[Any]]

    def arguments(self) -> dict[str, Any]:
        """Return what the network is built with, besides what the images are."""
        return {name: value for name, value in self if name not in Config.model_fields}

    def __reduce__(self) -> tuple[object, ...]:
        # Its type exists in this process only; the network itself is pickled by its name, or whole from a script.
        return _again, (type(self).network, self.model_dump())


def _again(network: type[Any], values: dict[str, Any]) -> Config:
    return of_network(network).model_validate(values)


def named(model: str) -> type[Config]:
    """Return the family of ``ann``, ``cnn`` or ``MODULE:CLASS``, whose module is imported if it is not yet.

    The module is looked for in the folder of the command first.  Only what the user names may be given.

    Raises:
        InputError: there is no such family, module or class, or the class cannot be searched.
    """
    if known_family(model) is None and is_own_name(model):
        return of_network(imported(model, OPTION), model)
    return family(model)


def of_network(network: type[Any], name: str | None = None) -> type[OwnConfig]:
    """Return the family of a class; its configurations have the training settings and what its signature names.

    Args:
        network: a ``torch.nn.Module`` whose ``__init__`` has typed keyword arguments with defaults.
        name: ``MODULE:CLASS``; as Python knows the class if None.

    Raises:
        InputError: the class cannot be searched; it names file and line.
    """
    name = name or name_of(network)
    known = known_family(name)
    if known is not None and issubclass(known, OwnConfig) and known.network is network:
        return known
    _check_class(network)
    fields: dict[str, Any] = {"model": (Literal[name], name)}
    try:
        hints = get_type_hints(network.__init__, include_extras=True)
    except NameError as error:
        raise _unsuitable(network, f"its types cannot be resolved ({error})", "import what they name") from None
    for parameter in _parameters(network):
        if parameter.name not in GIVEN:
            fields[parameter.name] = (_kind(network, parameter, hints), parameter.default)
    try:
        made = create_model(network.__name__, __base__=OwnConfig, **fields)
        made.network = network
        made()  # type: ignore[call-arg]
    except ValidationError as error:
        wrong = invalid(error)
        raise _unsuitable(network, f"the default of {wrong.key}: {wrong.what}", wrong.hint) from None
    except (PydanticUserError, TypeError) as error:
        raise _unsuitable(network, f"its signature cannot be read ({error})", "see docs/own-model.md") from None
    add_family(name, made)
    return made


def name_given(model: str | type[Any] | None) -> str | None:
    """Return the name of a family that is given by its name or as a class; errors as of ``of_network``."""
    if model is None or isinstance(model, str):
        return model
    of_network(model)
    return name_of(model)


def network_of(model: str) -> type[Any] | None:
    """Return the class of a family of the user's own that this process knows, None of ``ann`` and ``cnn``."""
    config = family(model)
    return config.network if issubclass(config, OwnConfig) else None


def signature(config: type[Config]) -> dict[str, Any]:
    """Return the parameters of a network of one's own as JSON values: each one's type, bounds, choices and default."""
    if not issubclass(config, OwnConfig):
        return {}
    properties = config.model_json_schema()["properties"]
    return {
        name: {key: value for key, value in about.items() if key != "title"}
        for name, about in properties.items()
        if name not in Config.model_fields
    }


def _check_class(network: type[Any]) -> None:
    # Torch takes two seconds to import, and is there already if this is a network.
    torch = sys.modules.get("torch")
    if not inspect.isclass(network) or torch is None or not issubclass(network, torch.nn.Module):
        what = f"{getattr(network, '__name__', network)!r} is not a class of torch.nn.Module"
        raise InputError(what, file=_place(network), key=OPTION, hint="name the class, not an instance or a function")


def _parameters(network: type[Any]) -> list[inspect.Parameter]:
    if network.__init__ is sys.modules["torch"].nn.Module.__init__:
        # That of torch.nn.Module takes anything, to refuse it.
        return []
    return list(inspect.signature(network).parameters.values())


def _kind(network: type[Any], parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
    """Return a parameter's type, or raise ``InputError`` if it cannot be searched or written to a table."""
    name = parameter.name
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        raise _unsuitable(network, f"{name!r} cannot be given by name", "use named parameters, without * or **")
    if name in Config.model_fields:
        raise _unsuitable(network, f"{name!r} is a training setting", "give the parameter another name")
    if name.startswith("_") or name in dir(OwnConfig):
        raise _unsuitable(network, f"{name!r} cannot be the name of a parameter", "give it another name")
    if name not in hints:
        raise _unsuitable(network, f"{name!r} has no type", f"write {name}: int, float, bool, str or Literal[...]")
    if parameter.default is parameter.empty:
        raise _unsuitable(network, f"{name!r} has no default", "give it one: the defaults are trial 0")
    kind = hints[name]
    bare = get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
    choices = get_args(bare) if get_origin(bare) is Literal else ()
    if bare not in _SCALARS and not (choices and len({type(choice) for choice in choices} & set(_SCALARS)) == 1):
        hint = "use int, float, bool, str or a Literal of one of them"
        raise _unsuitable(network, f"{name!r} is a {getattr(bare, '__name__', bare)}", hint)
    _check_column(network, name, type(choices[0]) if choices else bare)
    return kind


def _check_column(network: type[Any], name: str, kind: type) -> None:
    """Refuse a name that is a column of another type in the tables of the package's own families."""
    for other, config in BUILT_IN.items():
        theirs = config.model_fields.get(name)
        if theirs is None:
            continue
        choices = get_args(theirs.annotation)
        column: Any = type(choices[0]) if choices else theirs.annotation
        if column is not kind:
            what = f"{name!r} is {kind.__name__}, and {column.__name__} in tables of {other}"
            raise _unsuitable(network, what, "give it another name or that type")


def _unsuitable(network: type[Any], what: str, hint: str) -> InputError:
    return InputError(f"{network.__name__}: {what}", file=_place(network), key=OPTION, hint=hint)


def _place(network: Any) -> str | None:
    """Return file and line of a class, None where Python does not know them."""
    try:
        return f"{inspect.getsourcefile(network)}:{inspect.getsourcelines(network)[1]}"
    except (TypeError, OSError):
        return None
