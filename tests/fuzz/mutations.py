"""Making hostile input out of good input: of bytes, of JSON, of lines of text, and of ONNX models.

Every function takes its randomness from the generator that it is given, so that an input can be made again from the
numbers that a failure prints.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

SECRET = "secret.bin"
"""A file that lies outside of the folder of the input and must never be read."""

TEXTS = (
    "",
    "\x00",
    "\ud800",
    "\u202eevil",
    "\x1b[31m",
    "A" * 5000,
    "x" * 200_000,
    "</title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "]]><svg onload=alert(1)>",
    "{{7*7}}${7*7}<%=7*7%>",
    "%s%n%x",
    f"../{SECRET}",
    "/etc/passwd",
    "..\\..\\windows",
    "!!python/object/apply:os.system ['true']",
    "__import__('os').system('true')",
    "2026-99-99T99:99:99Z",
    "nan",
    "1e999",
)
PLACES = (
    f"../{SECRET}", f"./../{SECRET}", f"sub/../../{SECRET}", "/etc/passwd", "link", "fifo", "C:\\x",
    "\\\\h\\s", "", ".", "weights.bin", "model.onnx", "/dev/zero", "a\x00b", "x" * 5000, "~/x",
)  # fmt: skip
OPERATORS = (
    "Loop", "If", "Scan", "ConstantOfShape", "Expand", "Tile", "Range", "QLinearConv", "Conv", "Gemm", "Constant",
    "DequantizeLinear", "Resize", "Pad", "Einsum", "x", "",
)  # fmt: skip
ATTRIBUTES = ("group", "strides", "kernel_shape", "pads", "axis", "value", "perm")
NUMBERS = (0, -1, 1, 255, 256, 65_536, 2**31 - 1, 2**31, 2**32, 2**53, -(2**53), 1e308, -1e308, 5e-324, -0.0, 0.1)
TOKENS = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"null",
    b"true",
    b"1e999",
    b"9" * 5000,
    b"0x" + b"f" * 6000,
    b"1:1:1",
    b"[" * 3000,
    b"{" * 3000,
    b'{"a":' * 300,
    b"\\ud800",
    b"\\u0000",
    b"!!python/object/apply:os.system [true]",
    b"!!binary aGVsbG8=",
    b"&a [*a, *a]",
    b"<<: *x",
    b"? [a]\n: b",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x00" * 20,
    b"cos\nsystem\n(S'true'\ntR.",
    b"PK\x03\x04",
)


def hostile(rng: random.Random) -> Any:
    """A JSON value that is seldom expected."""
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice([None, True, False, [], {}])
    if kind <= 2:
        return rng.choice(NUMBERS)
    if kind <= 4:
        return rng.choice(TEXTS)
    if kind == 5:
        return _nested(rng.choice([5, 23, 24, 25, 60, 300]))
    if kind == 6:
        return [rng.choice(NUMBERS)] * rng.choice([2, 100, 20_000])
    return {rng.choice(TEXTS)[:50]: rng.choice(NUMBERS), "__class__": "x"}


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def of_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to four changes of bytes: flipped, cut, doubled, moved, or a token from the list put in."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.randrange(len(changed) + 1)
        length = min(len(changed) - place, rng.choice([1, 2, 8, 64, 1000]))
        kind = rng.randrange(7)
        if kind == 0 and length:
            changed[place] = rng.randrange(256)
        elif kind == 1:
            del changed[place : place + length]
        elif kind == 2:
            changed[place:place] = changed[place : place + length] * rng.choice([1, 3])
        elif kind == 3:
            changed[place:place] = rng.choice(TOKENS)
        elif kind == 4:
            changed[place : place + length] = rng.choice(TOKENS)
        elif kind == 5:
            changed[place : place + length] = rng.randbytes(length)
        else:
            del changed[place:]
    return bytes(changed)


def of_json(value: Any, rng: random.Random) -> Any:
    """One to three changes of the parts of a JSON value."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 2, 3])):
        places = list(_places(value))
        if not places:
            return hostile(rng)
        owner, key = rng.choice(places)
        _change(owner, key, rng)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)


def _change(owner: Any, key: Any, rng: random.Random) -> None:
    kind = rng.randrange(9)
    value = owner[key]
    if kind <= 2:
        owner[key] = hostile(rng)
    elif kind == 3:
        del owner[key]
    elif kind == 4 and isinstance(owner, dict):
        owner[rng.choice([f"{key}_", *TEXTS[:8]])] = value
    elif kind == 5:
        owner[key] = [value]
    elif kind == 6 and isinstance(value, int | float) and not isinstance(value, bool):
        owner[key] = rng.choice([-value, value * 1e300, value * 1e-300, value + 1, 0])
    elif kind == 7 and isinstance(value, str):
        owner[key] = rng.choice([value + rng.choice(TEXTS)[:4000], value[: len(value) // 2], value.upper()])
    elif kind == 8 and isinstance(owner, list):
        owner.extend([copy.deepcopy(value)] * rng.choice([1, 3, 1000]))
    else:
        owner[key] = rng.choice([str(value), 0, None])


def of_lines(content: bytes, rng: random.Random) -> bytes:
    """Lines taken out, doubled, moved, indented, or with a token in them."""
    lines = content.split(b"\n")
    for _ in range(rng.choice([1, 2, 3])):
        place = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0 and len(lines) > 1:
            del lines[place]
        elif kind == 1:
            lines.insert(rng.randrange(len(lines)), lines[place])
        elif kind == 2:
            lines[place] = b" " * rng.choice([1, 2, 5]) + lines[place]
        elif kind == 3:
            head, colon, _ = lines[place].partition(b":")
            lines[place] = head + colon + b" " + rng.choice(TOKENS)
        elif kind == 4:
            lines[place] += b" " + rng.choice(TOKENS)
        else:
            lines[place : place + 1] = lines[place : place + 1] * rng.choice([2, 50])
    return b"\n".join(lines)


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
    model.graph.node.add(op_type="f0", domain="own", input=["picture"], output=["called"])
