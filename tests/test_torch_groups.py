"""Groups by depth: every trainable parameter once, rates by hand, models of the usual shapes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftmon.errors import UsageError

torch = pytest.importorskip("torch", reason="parameter groups are torch's")

from torch import nn  # noqa: E402

from raftmon.torch import discriminative_groups, layer_depths, layerwise_groups, warmup_linear  # noqa: E402


class Block(nn.Module):  # type: ignore[misc]
    """A block that holds a list of its own, as most do."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.feed = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4))


class Trunk(nn.Module):  # type: ignore[misc]
    """Embeddings, a list of blocks, and a norm."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(6, 4), nn.Parameter(torch.zeros(3, 4))
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))
        self.norm = nn.LayerNorm(4)


class Language(nn.Module):  # type: ignore[misc]
    """As transformers builds them: a trunk, and a head that may share the embedding's weight."""

    def __init__(self, blocks: int = 3, *, tied: bool = False) -> None:
        super().__init__()
        self.trunk = Trunk(blocks)
        self.head = nn.Linear(4, 6, bias=False)
        if tied:
            self.head.weight = self.trunk.tokens.weight


class Residual(nn.Module):  # type: ignore[misc]
    """As torchvision builds ResNets: stages are lists, with a list for the shortcut inside a block."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(self.basic(), self.basic())
        self.layer2 = nn.Sequential(self.basic())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 2)

    @staticmethod
    def basic() -> nn.Module:
        block = nn.Module()
        block.conv = nn.Conv2d(4, 4, 3)
        block.downsample = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        return block


class Attributes(nn.Module):  # type: ignore[misc]
    """Layers that no list names."""

    def __init__(self) -> None:
        super().__init__()
        self.top, self.low = nn.Linear(4, 1), nn.Linear(4, 4)


def members(groups: list[dict[str, Any]]) -> Counter[int]:
    return Counter(id(parameter) for group in groups for parameter in group["params"])


def by_name(groups: list[dict[str, Any]]) -> dict[str, float]:
    return {group["name"]: group["lr"] for group in groups}


def depth_of(model: Any, layers: Any = None) -> dict[str, int]:
    """Return depths by the first three parts of a parameter's name."""
    return {".".join(name.split(".")[:3]): depth for name, depth in layer_depths(model, layers).items()}


def test_a_language_model_has_embeddings_blocks_and_a_head() -> None:
    assert depth_of(Language(2)) == {
        "trunk.places": 0,
        "trunk.tokens.weight": 0,
        "trunk.blocks.0": 1,
        "trunk.blocks.1": 2,
        "trunk.norm.weight": 3,
        "trunk.norm.bias": 3,
        "head.weight": 3,
    }


def test_a_residual_network_has_a_stem_the_blocks_of_all_stages_and_a_head() -> None:
    depths = {name.split(".conv")[0].split(".down")[0]: depth for name, depth in layer_depths(Residual()).items()}
    assert {name: depths[name] for name in ("bn1.bias", "layer1.0", "layer1.1", "layer2.0", "fc.bias")} == {
        "bn1.bias": 0,
        "layer1.0": 1,
        "layer1.1": 2,
        "layer2.0": 3,
        "fc.bias": 4,
    }


def test_a_plain_sequence_counts_what_has_parameters() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 3), nn.Dropout()), nn.Linear(3, 1))
    assert depth_of(model) == {"0.weight": 0, "0.bias": 0, "2.0.weight": 1, "2.0.bias": 1, "3.weight": 2, "3.bias": 2}


def test_what_stands_between_two_stacks_belongs_to_the_lower() -> None:
    model = nn.ModuleDict({"encoder": Trunk(2), "decoder": Trunk(1)})
    depths = depth_of(model)
    assert depths["encoder.blocks.1"] == depths["encoder.norm.weight"] == depths["decoder.tokens.weight"] == 2
    assert depths["decoder.blocks.0"] == 3
    assert depths["decoder.norm.weight"] == 4


def test_layerwise_rates_by_hand() -> None:
    groups = layerwise_groups(Language(3), 1e-3, decay=0.5)
    assert by_name(groups) == pytest.approx(
        {"layer_00": 6.25e-5, "layer_01": 1.25e-4, "layer_02": 2.5e-4, "layer_03": 5e-4, "layer_04": 1e-3}
    )


def test_discriminative_rates_by_hand() -> None:
    model = Language(4)  # depths 0 to 5
    groups = discriminative_groups(model, 1e-3)
    assert by_name(groups) == pytest.approx({"bottom": 1e-4, "middle": 5e-4, "top": 1e-3})
    middle = {id(parameter) for block in model.trunk.blocks[1:3] for parameter in block.parameters()}
    assert {id(parameter) for parameter in groups[1]["params"]} == middle


@pytest.mark.parametrize(("layers", "names"), [(1, ["top"]), (2, ["top", "middle"]), (3, ["top", "middle", "bottom"])])
def test_with_few_layers_the_top_gets_its_rate_first(layers: int, names: list[str]) -> None:
    groups = discriminative_groups(nn.Sequential(*(nn.Linear(2, 2) for _ in range(layers))), 1.0)
    assert [group["name"] for group in groups] == names


def test_other_factors_make_other_parts() -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(8)))
    groups = discriminative_groups(model, 2.0, factors=(0.1, 0.2, 0.5, 1.0))
    assert by_name(groups) == pytest.approx({"part_0": 0.2, "part_1": 0.4, "part_2": 1.0, "part_3": 2.0})
    assert [len(group["params"]) for group in groups] == [4, 4, 4, 4]


def test_a_shared_weight_comes_once_where_it_lies_lowest() -> None:
    model = Language(tied=True)
    groups = layerwise_groups(model, 1.0, decay=0.5)
    assert set(members(groups).values()) == {1}
    assert any(parameter is model.head.weight for parameter in groups[-1]["params"])
    head_first = [[model.head], [model.trunk.tokens, *model.trunk.blocks, model.trunk.norm]]
    with pytest.raises(UsageError, match=r"trunk.places: in none of the layers"):
        layerwise_groups(model, 1.0, decay=0.5, layers=head_first)


def test_frozen_layers_are_left_out_and_move_no_other() -> None:
    model = Language(3)
    whole = by_name(layerwise_groups(model, 1.0, decay=0.5))
    for frozen in (model.trunk.tokens, model.trunk.blocks[0]):
        frozen.requires_grad_(False)
    model.trunk.places.requires_grad_(False)
    groups = layerwise_groups(model, 1.0, decay=0.5)
    assert by_name(groups) == {name: rate for name, rate in whole.items() if name not in ("layer_00", "layer_01")}
    assert members(groups).keys() == {id(p) for p in model.parameters() if p.requires_grad}


def test_biases_and_norms_are_not_decayed_when_a_decay_is_given() -> None:
    model = Language(1)
    groups = layerwise_groups(model, 1.0, decay=0.5, weight_decay=0.1)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in groups] == [
        ("layer_02", 1.0, 0.1),
        ("layer_02_no_decay", 1.0, 0.0),
        ("layer_01", 0.5, 0.1),
        ("layer_01_no_decay", 0.5, 0.0),
        ("layer_00", 0.25, 0.1),
    ]
    for group in groups:
        for parameter in group["params"]:
            assert (parameter.ndim < 2) is group["name"].endswith("_no_decay")
    assert all("weight_decay" not in group for group in layerwise_groups(model, 1.0, decay=0.5))


def test_layers_may_be_named_bottom_first_or_by_a_function() -> None:
    model = Attributes()
    expected = {"top.weight": 1, "top.bias": 1, "low.weight": 0, "low.bias": 0}
    assert layer_depths(model, [model.low, model.top]) == expected
    assert layer_depths(model, [[model.low], (model.top,)]) == expected
    assert layer_depths(model, lambda name: 7 if name.startswith("top") else 3) == expected
    residual = Residual()
    stages = [[residual.conv1, residual.bn1, residual.layer1], residual.layer2, residual.fc]
    assert set(layer_depths(residual, stages).values()) == {0, 1, 2}
    whole = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    assert set(layer_depths(whole, whole).values()) == {0, 1}


@settings(max_examples=40, deadline=None)
@given(
    blocks=st.integers(1, 6),
    tied=st.booleans(),
    frozen=st.sets(st.integers(0, 40)),
    decay=st.floats(0.01, 1.0),
    weight_decay=st.none() | st.floats(0.0, 1.0),
)
def test_every_trainable_parameter_is_in_exactly_one_group(
    blocks: int, tied: bool, frozen: set[int], decay: float, weight_decay: float | None
) -> None:
    model = Language(blocks, tied=tied)
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index not in frozen)
    model.trunk.norm.weight.requires_grad_(True)
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    for groups in (
        layerwise_groups(model, 1e-3, decay=decay, weight_decay=weight_decay),
        discriminative_groups(model, 1e-3, weight_decay=weight_decay),
    ):
        assert members(groups) == Counter(trainable)
        assert len(by_name(groups)) == len(groups)
        rates = [group["lr"] for group in groups]
        assert rates == sorted(rates, reverse=True)
        assert rates[0] == 1e-3  # trainers log the first group's


def test_an_optimiser_and_a_schedule_take_them_and_keep_their_ratio() -> None:
    model = Language(2)
    optimizer = torch.optim.AdamW(discriminative_groups(model, 1e-3, weight_decay=0.1))
    scheduler = warmup_linear(optimizer, 20)
    for _ in range(10):
        sum(parameter.square().sum() for parameter in model.parameters()).backward()
        optimizer.step()
        scheduler.step()
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates["bottom"] / rates["top"] == pytest.approx(0.1)
    assert rates["middle_no_decay"] / rates["top"] == pytest.approx(0.5)


def frozen_model() -> nn.Module:
    return Language(1).requires_grad_(False)


REFUSED: Final[list[tuple[Callable[[], Any], str, str]]] = [
    (lambda: layerwise_groups(Attributes(), 1.0, decay=0.9), "Attributes has no nn.ModuleList", "Give layers=["),
    (lambda: layerwise_groups(nn.ReLU(), 1.0, decay=0.9), "model has no parameters", "to be trained"),
    (lambda: layerwise_groups(frozen_model(), 1.0, decay=0.9), "no trainable parameters", "requires_grad"),
    (lambda: layerwise_groups("gpt2", 1.0, decay=0.9), "model is a str", "torch.nn.Module"),
    (lambda: layerwise_groups(Language(), 0.0, decay=0.9), "learning_rate is 0.0", "above 0"),
    (lambda: layerwise_groups(Language(), 1.0, decay=1.1), "decay is 1.1", "above 0 and at most 1"),
    (lambda: layerwise_groups(Language(), 1.0, decay=0.9, weight_decay=-0.1), "weight_decay is -0.1", "at least 0"),
    (lambda: discriminative_groups(Language(), 1.0, factors=()), "factors is ()", "one number for each part"),
    (lambda: discriminative_groups(Language(), 1.0, factors=0.1), "factors is 0.1", "one number for each part"),  # type: ignore[arg-type]
    (lambda: discriminative_groups(Language(), 1.0, factors=(0.1, math.nan)), "factors[1] is nan", "at most 1"),
    (lambda: layer_depths(Language(), lambda _: -1), "is -1", "a whole number of at least 0"),
    (lambda: layer_depths(Language(), ["trunk"]), "layer 0 holds a str", "Give modules"),
    (lambda: layer_depths(Language(), 3), "layers is a int", "Give layers=["),  # type: ignore[arg-type]
    (lambda: layer_depths(Language(), nn.Linear(1, 1)), "layers is a Linear", "Give layers=["),
    (lambda: layer_depths(Language(4), [nn.Linear(1, 1)]), "trunk.places, trunk.tokens.weight", "Put the modules"),
]


@pytest.mark.parametrize(("call", "what", "remedy"), REFUSED, ids=[what for _, what, _ in REFUSED])
def test_what_cannot_be_meant_is_refused(call: Callable[[], Any], what: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert what in caught.value.what
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("kind", "count", "last"),
    [
        ("GPT2LMHeadModel", 5, "transformer.ln_f.bias"),
        ("LlamaForCausalLM", 5, "lm_head.weight"),
        ("BertForSequenceClassification", 5, "classifier.bias"),
        ("ViTForImageClassification", 5, "classifier.bias"),
        ("T5ForConditionalGeneration", 8, "decoder.final_layer_norm.weight"),
    ],
)
def test_models_of_transformers_have_a_depth_for_each_layer(kind: str, count: int, last: str) -> None:
    transformers = pytest.importorskip("transformers", reason="real models")
    model_class = getattr(transformers, kind)
    small = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": 16}
    small |= {
        "intermediate_size": 8,
        "d_kv": 4,
        "num_decoder_layers": 3,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    model = model_class(model_class.config_class(**small))

    depths = layer_depths(model)
    second = next(name for name in depths if re.search(r"(\bh|layers|encoder\.layer|block)\.1\.", name))

    assert sorted(set(depths.values())) == list(range(count))
    assert depths[last] == count - 1
    assert depths[next(iter(depths))] == 0
    assert depths[second] == 2
    groups = layerwise_groups(model, 1e-4, decay=0.8, weight_decay=0.01)
    assert members(groups) == Counter({id(parameter) for parameter in model.parameters()})
