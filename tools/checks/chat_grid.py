"""Conversations of every shape that chat templates meet, for check_chat_templates.py."""

import itertools
import random

USERS = [
    "What is the weather in Zürich?", "", "  \n padded\t ", "<b>&\"it's\"</b> {{ 7 * 7 }} {% raw %}",
    "漢字 😀 \u00a0x", "a\r\nb", "</s><|im_end|><|eot_id|><think>", "line\n\n\nlines\n",
]
ANSWERS = [
    "It is sunny.", "", "\n\nyes\n", "<think>\nwhy\n</think>\n\nIt is.", "<think></think>4", "a</think>b</think>c",
    "```py\nprint({'a': \"b\"})\n```", "é \\n \\ \" '",
]
SYSTEMS = [None, "You are brief.", "", " \nYou\n<|x|> "]
REASONINGS = [
    {}, {"reasoning_content": "because"}, {"reasoning_content": "\n why \n"}, {"reasoning_content": ""},
    {"thinking": "hm"}, {"reasoning": "so"}, {"reasoning_content": None, "thinking": None},
]
ARGUMENTS = [
    {"city": "Zürich", "days": 2},
    {},
    {"x": 1e-5, "big": 1e22, "f": 2.0, "neg": -0.0, "n": 12345678901234567890, "none": None, "yes": True},
    {"nested": {"list": [1, 2.5, None, {"deep": "<é&'\">"}], "empty": [], "object": {}}, "s": ""},
    {"list": [1e-7, 3.0, False, "it's"], "text": "two\nlines", "items": {"get": 1, "keys": "k"}},
]
RESULTS = ["sunny", "{\"degrees\": 21.5}", "", {"degrees": 1e-5, "ok": None}, ["a", 1.0], "a\n b "]
TOOLS = [
    None,
    [],
    [{"type": "function", "function": {
        "name": "weather", "description": "Tells the weather, <here> & \"now\"",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "A city", "enum": ["Bern", "Zürich"]},
            "days": {"type": "integer", "default": 1.0, "minimum": 1e-5, "nullable": True},
        }, "required": ["city"]},
        "return": {"type": "string"},
    }}],
    [{"type": "function", "function": {
        "name": "f", "description": "", "parameters": {"type": "object", "properties": {}},
    }}, {"type": "function", "function": {
        "name": "search", "description": "Finds.\nThings.",
        "parameters": {"type": "object", "additionalProperties": False, "properties": {
            "items": {"type": "array", "items": {"type": "object", "properties": {
                "keys": {"type": ["string", "null"]}, "x": {"type": "number", "const": 0.1}}}, "description": "l"},
            "any": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}], "default": None},
            "obj": {"type": "object", "properties": {"a": {"type": "boolean", "default": False}}, "required": ["a"]},
            "ref": {"$ref": "#/x", "description": "no type", "title": "T", "pattern": "^a\\d$", "examples": ["a1", 2]},
        }, "required": ["items", "any"], "$defs": {"x": {"type": "string"}}},
    }}],
]


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def call(name, arguments, **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


def with_system(system, turns):
    return turns if system is None else [{"role": "system", "content": system}, *turns]


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


def plain():
    """Turns with roles and contents alone."""
    for system, content, answer in itertools.product(SYSTEMS, USERS, ANSWERS):
        yield with_system(system, [user(content), assistant(answer)])
    q, a = user("first"), assistant("one")
    orders = [
        [q], [q, a, user("second"), assistant("two"), user("third"), assistant("three")], [a], [a, q], [q, q],
        [q, a, assistant("more")], [q, a, user("open")], [{"role": "system", "content": "alone"}],
        [q, {"role": "system", "content": "late"}, a], [{"role": "developer", "content": "d"}, q, a],
        [q, {"role": "narrator", "content": "n"}, a], [{"role": "system", "content": "s"}] * 2 + [q, a],
        [{"role": "model", "content": "m"}, q, a], [q, assistant("<think>x</think>1"), user("r"), assistant("2")],
        [q, {"role": "tool", "content": "t"}, a], [{"role": "system", "content": "s"}, a, q],
    ]
    yield from orders


def reasoning():
    for first, last, answer in itertools.product(REASONINGS, REASONINGS, ANSWERS[:4]):
        yield [user("2 + 2?"), assistant(answer, **first), user("3 + 3?"), assistant("6", **last)]
    yield [user("q"), {"role": "assistant", "content": None, "reasoning_content": "only"}]
    yield [user("q"), {"role": "assistant", "reasoning_content": "only"}]


def calls():
    """Turns that call tools, and what these return."""
    for arguments, result, more in itertools.product(ARGUMENTS, RESULTS, [{}, {"reasoning_content": "look"}]):
        turn = {"role": "assistant", "content": None, "tool_calls": [call("weather", arguments)], **more}
        yield [user("Weather?"), turn, {"role": "tool", "content": result, "name": "weather"}, assistant("Sunny.")]
    first, second = call("f", ARGUMENTS[0], id="call00001"), call("g", ARGUMENTS[3], id="call00002")
    tool = {"role": "tool", "content": "1", "name": "f", "tool_call_id": "call00001"}
    other = {"role": "tool", "content": parts("2", "3"), "name": "g", "tool_call_id": "call00002"}
    both = assistant("I look.", tool_calls=[first, second])
    yield [user("q"), both, tool, other, assistant("done"), user("again"), both, tool]
    yield with_system("s", [user("q"), both, tool, assistant(""), user("r"), assistant("x")])
    yield [user("q"), assistant("", tool_calls=[call("f", "{\"a\": 1e-5}")]), tool, assistant("a")]
    yield [user("q"), assistant("", tool_calls=[call("f", "")]), tool]
    yield [user("q"), {"role": "assistant", "tool_calls": [first]}, tool, {"role": "assistant", "tool_calls": [second]}, other]
    yield [user("q"), assistant("x", tool_calls=[]), user("r")]
    yield [user("q"), assistant("x", tool_calls=[{"name": "f", "arguments": {"a": 0.1}}]), tool]
    yield [user("q"), assistant(None, tool_calls=[first], reasoning_content="r"), {"role": "ipython", "content": {"a": 1.0}}]
    yield [user("q"), assistant(None, tool_calls=[first]), {"role": "function", "content": "x", "name": "f"}, assistant("a")]
    yield [user("q"), both, tool, tool, user("r"), both, other, user("s"), assistant("end", reasoning_content="z")]
    yield [user("q"), both, assistant("no result"), tool]


def in_parts():
    for texts in [("a",), ("a", "b"), ("",), ()]:
        yield [{"role": "system", "content": parts(*texts)}, {"role": "user", "content": parts("q")},
               {"role": "assistant", "content": parts("a", "\nb")}]
        yield [{"role": "user", "content": parts(*texts)}, assistant("a"), {"role": "user", "content": parts("r")}]
        yield [user("q"), {"role": "assistant", "content": parts(*texts), "reasoning_content": "r"}]


def drawn(count):
    """Conversations put together by chance, always the same ones."""
    draw = random.Random(5)
    for _ in range(count):
        turns = []
        for _ in range(draw.randint(1, 4)):
            turns.append(user(draw.choice(USERS + [parts("x", "y")])))
            if draw.random() < 0.4:
                some = [call(draw.choice("fg"), draw.choice(ARGUMENTS), id=f"id{n:07}") for n in range(draw.randint(1, 3))]
                turns.append({"role": "assistant", "content": draw.choice([None, "", "let me see"]),
                              "tool_calls": some, **draw.choice(REASONINGS)})
                turns += [{"role": "tool", "content": draw.choice(RESULTS), "name": one["function"]["name"],
                           "tool_call_id": one["id"]} for one in some]
            if draw.random() < 0.9:
                turns.append(assistant(draw.choice(ANSWERS), **draw.choice(REASONINGS)))
        yield with_system(draw.choice(SYSTEMS), turns)


def records():
    """All conversations with their tools."""
    for turns in plain():
        yield {"messages": turns}
    for turns in [*in_parts(), *reasoning()]:
        yield {"messages": turns}
    for turns in calls():
        yield {"messages": turns}
        yield {"messages": turns, "tools": TOOLS[2]}
    for tools, system in itertools.product(TOOLS, SYSTEMS):
        yield {"messages": with_system(system, [user("q"), assistant("a"), user("r"), assistant("b")]), "tools": tools}
    for n, turns in enumerate(drawn(200)):
        yield {"messages": turns, "tools": TOOLS[n % 4]}
