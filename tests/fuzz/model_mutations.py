"""Mutation of valid ONNX models into hostile ones, message by message."""

from __future__ import annotations

import random
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from mutations import SECRET, TEXTS

PLACES = (
    f"../{SECRET}", f"./../{SECRET}", f"sub/../../{SECRET}", "/etc/passwd", "link", "fifo", "C:\\x",
    "\\\\h\\s", "", ".", "weights.bin", "model.onnx", "/dev/zero", "a\x00b", "x" * 5000, "~/x",
)  # fmt: skip
OPERATORS = (
    "Loop", "If", "Scan", "ConstantOfShape", "Expand", "Tile", "Range", "QLinearConv", "Conv", "Gemm", "Constant",
    "DequantizeLinear", "Resize", "Pad", "Einsum", "x", "",
)  # fmt: skip
ATTRIBUTES = ("group", "strides", "kernel_shape", "pads", "axis", "value", "perm")


def of_model(content: bytes, rng: random.Random) -> bytes:
    """One to four changes of the messages of an ONNX model."""
    model = onnx.load_from_string(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        rng.choice([_scalar, _scalar, _repeat, _drop, _external, _dimensions, _wiring, _nest, _call])(model, rng)
    encoded: bytes = model.SerializeToString()
    return encoded


def _messages(message: Message) -> list[Message]:
    found = [message]
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for item in [value] if isinstance(value, Message) else value:
                found += _messages(item)
    return found


def _of_type(model: onnx.ModelProto, kind: type[Message], rng: random.Random) -> Any:
    found = [message for message in _messages(model) if isinstance(message, kind)]
    return rng.choice(found) if found else None


def _scalar(model: onnx.ModelProto, rng: random.Random) -> None:
    """Another value in one field that holds a number, a text or bytes."""
    message = rng.choice(_messages(model))
    plain = [field for field in message.DESCRIPTOR.fields if field.type != FieldDescriptor.TYPE_MESSAGE]
    field = rng.choice(plain) if plain else None
    if field is None:
        return
    value = _value(field, rng)
    if isinstance(getattr(message, field.name), int | float | str | bytes):
        setattr(message, field.name, value)
    else:
        getattr(message, field.name).append(value)


def _value(field: FieldDescriptor, rng: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice([text for text in TEXTS if text != "\ud800"])
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.randbytes(rng.choice([0, 1, 7, 4096]))
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice([0.0, -1.0, 1e30, float("nan"), float("inf")])
    if field.type == FieldDescriptor.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    if field.type == FieldDescriptor.TYPE_UINT64:
        return rng.choice([0, 1, 2**63, 2**64 - 1])
    wide = field.type == FieldDescriptor.TYPE_INT64
    return rng.choice([0, 1, -1, 7, 2**31 - 1, -(2**31), *([2**63 - 1, -(2**63), 2**40] if wide else [])])


def _repeat(model: onnx.ModelProto, rng: random.Random) -> None:
    """The items of one list again, up to a thousand of them."""
    message = rng.choice(_messages(model))
    lists = [
        field.name
        for field, value in message.ListFields()
        if not isinstance(value, Message | int | float | str | bytes)
    ]
    if lists:
        values = getattr(message, rng.choice(lists))
        values.extend(list(values)[: rng.choice([1, 1000])])


def _drop(model: onnx.ModelProto, rng: random.Random) -> None:
    message = rng.choice(_messages(model))
    if fields := message.ListFields():
        message.ClearField(rng.choice(fields)[0].name)


def _external(model: onnx.ModelProto, rng: random.Random) -> None:
    """A tensor's bytes somewhere else: outside of the folder, beyond the end, or nowhere."""
    tensor = _of_type(model, onnx.TensorProto, rng)
    if tensor is None:
        return
    if rng.random() < 0.7:
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, values in {
        "location": PLACES,
        "offset": ["0", "-1", "9" * 30, "4096", "1e3", ""],
        "length": ["0", "4", "-4", str(2**40), "x"],
    }.items():
        if rng.random() < 0.8:
            tensor.external_data.add(key=key, value=rng.choice(values))


def _dimensions(model: onnx.ModelProto, rng: random.Random) -> None:
    """Sizes that no memory holds."""
    large = [2**31, 2**40, 2**62, -1, 0, 65_536]
    if rng.random() < 0.5 and (tensor := _of_type(model, onnx.TensorProto, rng)) is not None:
        del tensor.dims[:]
        tensor.dims.extend(rng.choices(large, k=rng.choice([1, 2, 4, 40])))
    elif (shape := _of_type(model, onnx.TensorShapeProto, rng)) is not None:
        for size in rng.choices(large, k=rng.choice([1, 4, 40])):
            shape.dim.add(dim_value=size)


def _wiring(model: onnx.ModelProto, rng: random.Random) -> None:
    """A node that feeds itself, lacks its inputs, or is another operator."""
    if (node := _of_type(model, onnx.NodeProto, rng)) is None:
        return
    kind = rng.randrange(5)
    if kind == 0 and node.output:
        del node.input[:]
        node.input.extend(list(node.output) * 2)
    elif kind == 1:
        del node.input[:]
    elif kind == 2:
        del node.output[:]
    elif kind == 3:
        node.op_type = rng.choice(OPERATORS)
    else:
        values = rng.choices([0, -1, 2**40, 3], k=rng.randrange(5))
        node.attribute.add(name=rng.choice(ATTRIBUTES), type=onnx.AttributeProto.INTS, ints=values)


def _nest(model: onnx.ModelProto, rng: random.Random) -> None:
    """Graphs inside graphs."""
    graph = model.graph
    for _ in range(rng.choice([1, 10, 40, 90])):
        node = graph.node.add(op_type="If", input=["c"], output=["d"])
        attribute = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
        graph = attribute.g
    graph.node.add(op_type="Identity", input=["a"], output=["b"])


def _call(model: onnx.ModelProto, rng: random.Random) -> None:
    """A function that calls itself, or many that call each other twice each."""
    steps = rng.choice([1, 2, 12, 30])
    for step in range(steps):
        function = model.functions.add(name=f"f{step}", domain="own", input=["a"], output=["b"])
        function.opset_import.add(domain="own", version=1)
        following = f"f{(step + 1) % steps if rng.random() < 0.3 else step + 1}"
        function.node.add(op_type=following, domain="own", input=["a"], output=["m"])
        function.node.add(op_type=following, domain="own", input=["m"], output=["b"])
    first = [port.name for port in model.graph.input[:1]]  # another mutation may have dropped it
    model.graph.node.add(op_type="f0", domain="own", input=first, output=["called"])
