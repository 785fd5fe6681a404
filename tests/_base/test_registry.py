import pytest

from sigmoe._base.errors import InputError
from sigmoe._base.registry import Registry


@pytest.fixture
def colours():
    registry = Registry[int]("colour")
    registry.register("red", 1)
    registry.register("blue", 2)
    return registry


def test_items_come_back_in_order(colours):
    assert colours.names() == ("red", "blue")
    assert colours.get("blue") == 2
    assert "red" in colours
    assert "green" not in colours


@pytest.mark.parametrize("name", ["green", None, 1, ["red"]], ids=str)
def test_an_unknown_name_lists_the_known_ones(colours, name):
    with pytest.raises(InputError) as caught:
        colours.get(name)
    assert str(caught.value) == (
        f"colour must be one of 'red', 'blue'; got {name!r}. Choose one of these names."
    )


def test_a_name_is_taken_once(colours):
    with pytest.raises(InputError) as caught:
        colours.register("red", 3)
    assert str(caught.value) == "colour name must be new; got 'red'. Choose another name."
    assert colours.get("red") == 1


def test_an_item_can_be_removed(colours):
    colours.unregister("red")
    assert colours.names() == ("blue",)
    with pytest.raises(InputError):
        colours.unregister("red")
