"""Parameter groups with learning rates by depth: lower near the input, for fine-tuning.

How deep a parameter lies is found from the model's lists (`nn.ModuleList`, `nn.Sequential`): what stands in one is a
block, a list within a list is one longer list, a list within a block belongs to the block. What comes before the
first block (embeddings, stem) has depth 0, then each block one of its own, and what comes after the last (norm, head)
the last. That is how transformers' and torchvision's models are built, as long as their parts are registered from the
input to the output; where they are not (two towers side by side), or where there is no list, say what the layers are.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from raftmon.errors import MissingExtra, UsageError
from raftmon.torch.checks import number, whole

try:
    from torch import nn
except ModuleNotFoundError as error:
    _what = f"parameter groups need {error.name}, which is not installed"
    raise MissingExtra("raftmon.torch.groups", _what, 'pip install "raftmon[torch]"') from error

__all__ = ["Layers", "discriminative_groups", "layer_depths", "layerwise_groups"]

Layers: TypeAlias = "Sequence[nn.Module | Sequence[nn.Module]] | Callable[[str], int]"
"""Modules from the input to the output, several at one depth as a sequence; or a parameter's name to its depth."""
THIRDS: Final = (0.1, 0.5, 1.0)
"""Claim 2-35: bottom, middle, top."""


def layerwise_groups(
    model: nn.Module,
    learning_rate: float,
    *,
    decay: float,
    layers: Layers | None = None,
    weight_decay: float | None = None,
) -> list[dict[str, Any]]:
    """Return groups for an optimiser whose rate falls by a factor for each layer below the top.

    Claim 2-28 (plausible, grade D): from vision and models of BERT's time, the gain of 1 to 2 % is not verified. No
    source of ours gives a factor for your model, so that there is no default; near 1 is close to one rate for all.

    Args:
        model: every trainable parameter comes into exactly one group; one that is shared where it lies lowest.
        learning_rate: of the topmost layer.
        decay: factor from each layer to the one below, in (0, 1].
        layers: None: found as this module's docstring says.
        weight_decay: for weights; biases, norms and whatever else has fewer than two dimensions then come into groups
            without. None: the optimiser's, for all.

    Returns:
        ``params``, ``lr``, ``name`` (``layer_03``, ``layer_03_no_decay``) and, where given, ``weight_decay``; the top
        first, as trainers log the rate of the first group.

    Raises:
        UsageError: an argument that cannot be meant, a model without lists, or a parameter in no layer.
    """
    call = "layerwise_groups"
    top = number(call, "learning_rate", learning_rate, "(0,inf)")
    factor = number(call, "decay", decay, "(0,1]")
    depths = _depths(call, model, layers)
    last = max(depths.values())
    places = {name: (depth, f"layer_{depth:02d}") for name, depth in depths.items()}
    rates = {depth: top * factor ** (last - depth) for depth in range(last + 1)}
    return _groups(call, model, places, rates, weight_decay)


def discriminative_groups(
    model: nn.Module,
    learning_rate: float,
    *,
    factors: Sequence[float] = THIRDS,
    layers: Layers | None = None,
    weight_decay: float | None = None,
) -> list[dict[str, Any]]:
    """Return groups for an optimiser: bottom third of the layers at 0.1 of the rate, middle at 0.5, top at all of it.

    The factors are claim 2-35 (unverifiable, grade X, as to the gain it promises), that lower layers should change
    less claim 2-28 (plausible, grade D).

    Args:
        model: every trainable parameter comes into exactly one group; one that is shared where it lies lowest.
        learning_rate: of the top.
        factors: of the parts, bottom first; the layers are shared out evenly, the top getting its part first.
        layers: None: found as this module's docstring says.
        weight_decay: for weights; biases, norms and whatever else has fewer than two dimensions then come into groups
            without. None: the optimiser's, for all.

    Returns:
        ``params``, ``lr``, ``name`` (``bottom``, ``middle``, ``top``; ``part_0``... where there are not three factors;
        with ``_no_decay`` behind) and, where given, ``weight_decay``; the top first, as trainers log the rate of the
        first group. Parts without trainable parameters are left out.

    Raises:
        UsageError: an argument that cannot be meant, a model without lists, or a parameter in no layer.
    """
    call = "discriminative_groups"
    top = number(call, "learning_rate", learning_rate, "(0,inf)")
    if isinstance(factors, (str, int, float)) or not factors:
        raise UsageError(f"{call}(factors)", f"factors is {factors!r}", "Give one number for each part, bottom first.")
    shares = [number(call, f"factors[{index}]", factor, "(0,1]") for index, factor in enumerate(factors)]
    depths = _depths(call, model, layers)
    names = ("bottom", "middle", "top") if len(shares) == 3 else tuple(f"part_{i}" for i in range(len(shares)))
    count = max(depths.values()) + 1
    parts = {name: math.ceil((depth + 1) * len(shares) / count) - 1 for name, depth in depths.items()}
    places = {name: (part, names[part]) for name, part in parts.items()}
    return _groups(call, model, places, {part: top * share for part, share in enumerate(shares)}, weight_decay)


def layer_depths(model: nn.Module, layers: Layers | None = None) -> dict[str, int]:
    """Return how deep each parameter lies, frozen ones included: 0 at the input, without gaps.

    Args:
        model: whose parameters are told by the names of ``named_parameters``; one that is shared has one name.
        layers: None: found as this module's docstring says.

    Raises:
        UsageError: a model without lists, or a parameter in no layer.
    """
    return _depths("layer_depths", model, layers)


def _depths(call: str, model: nn.Module, layers: Layers | None) -> dict[str, int]:
    if not isinstance(model, nn.Module):
        raise UsageError(f"{call}(model)", f"model is a {type(model).__name__}", "Give a torch.nn.Module.")
    names = [name for name, _ in model.named_parameters()]
    if not names:
        raise UsageError(f"{call}(model)", "model has no parameters", "Give the model that is to be trained.")
    if layers is None:
        found = _of_list(call, model, _found_layers(call, model))
    elif callable(layers) and not isinstance(layers, nn.Module):
        found = {name: whole(call, f"layers({name!r})", layers(name), 0) for name in names}
    else:
        found = _of_list(call, model, _given_layers(call, layers))
    # Layers without parameters (activations) count for nothing; frozen ones count, or thawing would move the others.
    rank = {depth: index for index, depth in enumerate(sorted(set(found.values())))}
    return {name: rank[found[name]] for name in names}


def _given_layers(call: str, layers: Any) -> list[list[nn.Module]]:
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        remedy = "Give layers=[lowest module, ..., highest module], or name -> depth."
        raise UsageError(f"{call}(layers)", f"layers is a {type(layers).__name__}", remedy)
    found: list[list[nn.Module]] = []
    for index, entry in enumerate(layers):
        modules = [entry] if isinstance(entry, nn.Module) else list(entry) if isinstance(entry, Iterable) else [entry]
        for module in modules:
            if not isinstance(module, nn.Module):
                remedy = "Give modules of the model from the input to the output, or sequences of them."
                raise UsageError(f"{call}(layers)", f"layer {index} holds a {type(module).__name__}", remedy)
        found.append(modules)
    return found


def _of_list(call: str, model: nn.Module, layers: Sequence[Sequence[nn.Module | nn.Parameter]]) -> dict[str, int]:
    """Return the depth of each parameter by name: the lowest of the layers that it lies in."""
    depth_of: dict[int, int] = {}
    for depth, parts in enumerate(layers):
        for part in parts:
            for parameter in part.parameters() if isinstance(part, nn.Module) else (part,):
                depth_of.setdefault(id(parameter), depth)
    left = [name for name, parameter in model.named_parameters() if id(parameter) not in depth_of]
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        what = f"{', '.join(left[:3])}{more}: in none of the layers"
        raise UsageError(f"{call}(layers)", what, "Put the modules that hold them into the layer that they belong to.")
    return {name: depth_of[id(parameter)] for name, parameter in model.named_parameters()}


def _found_layers(call: str, model: nn.Module) -> list[list[nn.Module | nn.Parameter]]:
    """Return stem, blocks and head of a model; what stands between two blocks belongs to the lower one."""
    parts = [(part, block) for part, block in _parts(model, in_list=False) if _has_parameters(part)]
    blocks = [index for index, (_, block) in enumerate(parts) if block]
    if not blocks:
        what = f"{type(model).__name__} has no nn.ModuleList or nn.Sequential that would tell its layers"
        raise UsageError(f"{call}(layers)", what, "Give layers=[lowest module, ..., highest module], or name -> depth.")
    ends = [*blocks[1:], blocks[-1] + 1]
    layers = [[part for part, _ in parts[begin:end]] for begin, end in zip(blocks, ends, strict=True)]
    stem, head = ([part for part, _ in some] for some in (parts[: blocks[0]], parts[blocks[-1] + 1 :]))
    return [some for some in (stem, *layers, head) if some]


def _parts(module: nn.Module, *, in_list: bool) -> Iterator[tuple[nn.Module | nn.Parameter, bool]]:
    """Yield a model's parts in order, and whether each is a block; what holds a list is opened, a block is not."""
    is_list = isinstance(module, (nn.ModuleList, nn.Sequential))
    if not is_list and (in_list or not _holds_list(module)):
        yield module, in_list
        return
    for parameter in module.parameters(recurse=False):
        yield parameter, False
    for child in module.children():
        yield from _parts(child, in_list=is_list)


def _holds_list(module: nn.Module) -> bool:
    return any(isinstance(inner, (nn.ModuleList, nn.Sequential)) for inner in module.modules())


def _has_parameters(part: nn.Module | nn.Parameter) -> bool:
    return isinstance(part, nn.Parameter) or next(part.parameters(), None) is not None


def _groups(
    call: str,
    model: nn.Module,
    places: Mapping[str, tuple[int, str]],
    rates: Mapping[int, float],
    weight_decay: float | None,
) -> list[dict[str, Any]]:
    """Return the groups of the trainable parameters.

    Args:
        call: the function that was called.
        model: whose parameters they are.
        places: name of a parameter to the place of its group in the order, and the group's name.
        rates: place to learning rate.
        weight_decay: None: groups are not split.
    """
    decay = None if weight_decay is None else number(call, "weight_decay", weight_decay, "[0,inf)")
    members: dict[tuple[int, str, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members[(*places[name], decay is not None and parameter.ndim < 2)].append(parameter)
    if not members:
        what = "model has no trainable parameters"
        raise UsageError(f"{call}(model)", what, "Set requires_grad on those that are to be trained.")
    groups = []
    # The highest first: transformers logs the rate of the first group alone, and that is then taken for the run's.
    for place, name, plain in sorted(members, key=lambda key: (-key[0], key[2])):
        group: dict[str, Any] = {
            "params": members[place, name, plain],
            "lr": rates[place],
            "name": f"{name}_no_decay" if plain else name,
        }
        if decay is not None:
            group["weight_decay"] = 0.0 if plain else decay
        groups.append(group)
    return groups
