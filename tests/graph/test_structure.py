import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgekit.graph.structure import Structure, set_structures, structures


def _graph(*names: str):
    constants = [numpy_helper.from_array(np.zeros(2, np.float32), name) for name in names]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    return helper.make_model(helper.make_graph([helper.make_node("Identity", [names[0]], ["y"])], "g", [], [y], constants))


def test_a_graph_without_notes_has_no_structure():
    assert structures(_graph("w")) == {}


def test_notes_of_two_passes_stand_side_by_side():
    graph = _graph("a", "b")
    set_structures(graph, {"a": Structure("sparse")})
    set_structures(graph, {"b": Structure("codebook", axis=0)})
    assert structures(graph) == {"a": Structure("sparse"), "b": Structure("codebook", axis=0)}
    assert len(graph.metadata_props) == 1


def test_a_later_note_on_the_same_weight_holds():
    graph = _graph("a")
    set_structures(graph, {"a": Structure("sparse")})
    set_structures(graph, {"a": Structure("ternary", axis=0)})
    assert structures(graph) == {"a": Structure("ternary", axis=0)}


def test_other_metadata_and_weights_that_are_gone_do_not_disturb():
    graph = _graph("a", "b")
    graph.metadata_props.add(key="author", value="me")
    set_structures(graph, {"a": Structure("sparse"), "b": Structure("binary")})
    del graph.graph.initializer[1]
    assert structures(graph) == {"a": Structure("sparse")}
    assert [entry.key for entry in graph.metadata_props] == ["author", "edgekit.structure"]
