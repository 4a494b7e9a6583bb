"""Recipes through files: every named one comes back as it was; what does not fit is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fullyconv.errors import FullyConvError
from fullyconv.recipe_file import read_recipe
from fullyconv.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_comes_back(name: str, tmp_path: Path) -> None:
    _, recipe = RECIPES[name]
    (tmp_path / "r.json").write_text(json.dumps(recipe.to_dict()))
    assert read_recipe(tmp_path / "r.json") == recipe


def test_what_is_not_said_is_as_usual(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"model": {"num_classes": 4}, "optim": {"lr": 1}}')
    recipe = read_recipe(tmp_path / "r.json")
    assert (recipe.model.num_classes, recipe.model.stride, recipe.optim.lr) == (4, 8, 1.0)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"model": {"num_class": 4}}, r"no setting model\.num_class\. .*num_classes"),
        ({"model": 7}, r"model is 7, but must hold settings by name"),
        ([], r"a recipe is \[\], but must hold settings by name"),
        ({"model": {}, "seed": "one"}, r"seed is 'one', but must be of type int"),
        ({"model": {}, "data": {"crop": [1, 2, 3]}}, r"data\.crop is \[1, 2, 3\], but must be of"),
        ({"model": {}, "data": {"mirror": 1}}, r"data\.mirror is 1, but must be of type bool"),
        ({"model": {}, "data": {"train": "train"}}, r"data\.train is 'train', but must be of type"),
        ({"model": {}, "optim": {"lr": True}}, r"optim\.lr is True, but must be of type float"),
        ({"model": {}, "optim": {"optimizer": "adam"}}, r"adam"),
        ({"model": {}, "optim": {"lr": -1}}, r"learning rate is -1\.0; it must be above 0"),
    ],
)
def test_what_does_not_fit_is_named(values: Any, problem: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(values))
    with pytest.raises(FullyConvError, match=problem):
        read_recipe(tmp_path / "r.json")


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match="cannot be read"):
        read_recipe(tmp_path / "none.json")
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(FullyConvError, match="not JSON"):
        read_recipe(tmp_path / "r.json")
