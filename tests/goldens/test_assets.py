"""Every broken file under tests/assets is rejected for the defect it is named for, and none is unlisted."""

from pathlib import Path

import pytest

from aigate.errors import AigateError, ConfigError, SuiteError
from aigate.goldens.config import load_config
from aigate.goldens.prompts import load_prompt
from aigate.goldens.samples import load_samples
from aigate.goldens.suite import load_contract

ASSETS = Path(__file__).parents[1] / "assets"

SAMPLES = {
    "bad-utf8.jsonl": ":2: not UTF-8: byte 31 of the line is 0xe9",
    "blank-line-inside.jsonl": ":2: blank line between objects",
    "byte-order-mark.jsonl": ":1: starts with a byte order mark",
    "chat-without-content.jsonl": ":1: input: empty",
    "contexts-as-string.jsonl": ":1: contexts: got a string, expected an array of strings",
    "corrupt-gzip.jsonl.gz": "not a sound gzip file",
    "duplicate-id.jsonl": ":3: duplicate id 'first' (first on line 1)",
    "duplicate-key.jsonl": ":2: duplicate key 'k' in one object",
    "empty-chat.jsonl": ":1: input: empty",
    "empty-context.jsonl": ":1: contexts[1]: empty",
    "empty-file.jsonl": ":1: no samples",
    "empty-group.jsonl": ":1: group: empty",
    "empty-id.jsonl": ":1: id: empty",
    "empty-input.jsonl": ":1: input: empty",
    "infinity.jsonl": ":1: -Infinity is not a JSON number",
    "invalid-json.jsonl": ":2: invalid JSON at column 3",
    "message-not-an-object.jsonl": ":1: input[0]: got a string, expected an object with role and content",
    "metadata-as-array.jsonl": ":1: metadata: got an array, expected an object",
    "missing-content.jsonl": ":1: input[0].content: got nothing, expected a string",
    "missing-id.jsonl": ":1: missing field 'id'",
    "missing-input.jsonl": ":1: missing field 'input'",
    "missing-role.jsonl": ":1: input[0].role: got nothing, expected one of system",
    "nan.jsonl": ":1: NaN is not a JSON number",
    "nested-too-deep.jsonl": ":1: nested deeper than 100 levels",
    "not-an-object.jsonl": ":2: expected a JSON object, got an array",
    "not-gzip.jsonl.gz": ":1: not a sound gzip file",
    "null-contexts.jsonl": ":1: contexts: got null, expected an array of strings",
    "number-as-content.jsonl": ":1: input[0].content: got a number, expected a string or an array of parts",
    "number-as-group.jsonl": ":1: group: got a number, expected a string",
    "number-as-id.jsonl": ":1: id: got a number, expected a string",
    "number-as-input.jsonl": ":1: input: got a number, expected a string or an array of chat messages",
    "number-in-contexts.jsonl": ":1: contexts[1]: got a number, expected a string",
    "only-blank-lines.jsonl": ":1: no samples",
    "overflowing-number.jsonl": ":1: the number 1e400 is too large for a float",
    "part-without-type.jsonl": ":1: input[0].content[0]: expected a part",
    "raw-line-break-in-string.jsonl": ":1: invalid JSON at column",
    "repeated-tag.jsonl": ":1: tags: 'refunds' stands there twice",
    "tags-as-string.jsonl": ":1: tags: got a string, expected an array of strings",
    "too-many-digits.jsonl": ":1: invalid JSON: Exceeds the limit",
    "truncated-gzip.jsonl.gz": "the gzip file is cut short",
    "two-objects-on-a-line.jsonl": ":1: invalid JSON at column 31: Extra data",
    "unknown-field.jsonl": "did you mean 'reference'?",
    "unknown-role.jsonl": ":1: input[0].role: got 'usr', expected one of system",
    "utf16.jsonl": ":1: not UTF-8: byte 1 of the line is 0xff",
}
PROMPTS = {
    "alias-in-front-matter.md": ":2: invalid YAML: aliases are not supported",
    "bad-utf8.md": ":2: not UTF-8: byte 4 of the line is 0xe9",
    "block-across-messages.md": ":2: invalid template: Unexpected end of template",
    "byte-order-mark.md": ":1: starts with a byte order mark",
    "duplicate-front-matter-key.md": ":3: invalid YAML: duplicate key 'seed'",
    "empty-message.md": ":1: the system message is empty",
    "empty.md": ":1: the prompt is empty",
    "environment-global.md": ":1: 'cycler' is undefined",
    "front-matter-not-a-mapping.md": ":2: front matter: got an array, expected a mapping",
    "invalid-yaml.md": "invalid YAML: expected ',' or '}'",
    "max-tokens-zero.md": ":2: max_tokens: got 0, expected a whole number of at least 1",
    "name-not-a-string.md": ":2: name: got a number, expected a string",
    "nan-in-front-matter.md": "$.parameters.penalty: nan is not a JSON number",
    "only-front-matter.md": ":4: the prompt is empty",
    "open-front-matter.md": ":1: the front matter is never closed",
    "parameter-changes-model.md": ":2: model: is set by the gate",
    "parameter-set-twice.md": ":3: 'temperature' is set twice",
    "parameters-not-a-mapping.md": ":2: parameters: got a number, expected a mapping",
    "provider-section-not-a-mapping.md": ":2: openai: got a string, expected a mapping",
    "python-tag-in-front-matter.md": ":2: invalid YAML: could not determine a constructor",
    "random-filter.md": ":1: invalid template: No filter named 'random'",
    "reference-in-prompt.md": "'reference' is never shown to the model",
    "syntax-error.md": ":8: invalid template: unexpected '}'",
    "temperature-as-text.md": ":2: temperature: got a string, expected a number in [0, 2]",
    "text-before-role-line.md": ":1: text before the first role line",
    "undefined-variable.md": ":4: 'question' is undefined",
    "unknown-filter.md": ":1: invalid template: No filter named 'shout'",
    "unknown-front-matter-key.md": "did you mean 'temperature'?",
    "version with space.md": "'version with space' is no prompt version",
}
CONFIG = {
    "anchor-as-path.toml": ":1: anchor: got '../anchor', expected a name",
    "bad-utf8.toml": "not UTF-8: byte 16",
    "baseline-as-path.toml": ":1: baseline: got '../main', expected a name",
    "concurrency-too-high.toml": ":1: concurrency: got 1025, expected a whole number in [1, 1024]",
    "date-as-value.toml": "$.parameters.since: date is not JSON",
    "duplicate-key.toml": ":2: invalid TOML at column 12: Cannot overwrite a value",
    "early-stop-as-text.toml": ":1: early-stop: got 'off', expected true or false",
    "price-as-number.toml": ":1: price: got 2.5, expected a string that is not empty",
    "requests-per-minute-zero.toml": ":1: requests-per-minute: got 0, expected a number above 0",
    "sample-deadline-as-text.toml": ":1: sample-deadline-s: got '10m', expected a number of seconds above 0",
    "max-repeats-zero.toml": ":1: max-repeats: got 0, expected a whole number in [1, 10000]",
    "nan-as-value.toml": "$.policy.alpha: nan is not a JSON number",
    "no-scorers.toml": ":1: scorers: got an array, expected an array with at least one scorer",
    "parameters-change-model.toml": "parameters.model: is set by the gate",
    "policy-as-array.toml": ":1: policy: got an array, expected a table",
    "primary-metric-as-number.toml": ":1: primary-metric: got 1, expected a string",
    "provider-empty.toml": ":1: provider: got '', expected a string that is not empty",
    "provider-options-as-text.toml": ":1: provider-options: got 'fast', expected a table",
    "repeats-as-text.toml": ":1: repeats: got '3', expected a whole number in [1, 10000]",
    "repeats-true.toml": ":1: repeats: got a boolean, expected a whole number",
    "repeats-zero.toml": ":1: repeats: got 0, expected a whole number in [1, 10000]",
    "retries-negative.toml": ":1: retries: got -1, expected a whole number of at least 0",
    "scorer-as-number.toml": "scorers[1]: got a number, expected a string or a table",
    "scorer-table-without-name.toml": "scorers[0].scorer: got nothing, expected a string",
    "scorer-twice.toml": "scorers: 'recorded:correct' stands there twice",
    "scorer-without-argument.toml": "scorers[0]: got 'recorded:', expected 'name' or 'name:argument'",
    "scorers-as-text.toml": ":1: scorers: got 'exact_match', expected an array",
    "served-models-as-text.toml": ":1: served-models: got 'gpt-4o', expected an array of strings",
    "syntax-error.toml": ":2: invalid TOML at column 11",
    "temperature-too-high.toml": "parameters.temperature: got 20, expected a number in [0, 2]",
    "timeout-infinite.toml": "$.timeout-s: inf is not a JSON number",
    "timeout-zero.toml": ":1: timeout-s: got 0, expected a number of seconds above 0",
    "unclosed-array.toml": "invalid TOML: Unclosed array",
    "unknown-key.toml": ":2: unknown key 'provder'\n  next: did you mean 'provider'?",
    "unknown-table.toml": ":3: unknown key 'polcy'\n  next: did you mean 'policy'?",
    "version-as-number.toml": "version: got a number, expected a string or {file = ..., key = ...}",
    "version-file-missing.toml": "version.file: no such file 'nowhere.toml'",
    "version-file-of-other-kind.toml": "got a '.md' file, expected .toml, .json or .yaml",
    "version-key-missing.toml": "no key 'polcy.version' ('version' is missing)",
    "version-key-not-text.toml": "polcy.alpha: got a number, expected a version as a string",
    "version-unknown-field.toml": "version: unknown key 'path'",
    "version-with-two-parts.toml": "version: 'gpt-4o/v3' is no version: it has 2 of 3 parts",
    "version-without-key.toml": "version.key: got nothing, expected a string",
}
CONTRACTS = {
    "bad-utf8.json": ":1: not UTF-8: byte 15",
    "duplicate-key.json": ":1: duplicate key 'type' in one object",
    "invalid-json.json": ": invalid JSON at column",
    "invalid-schema.json": ":1: invalid JSON Schema at $.type: 'objekt'",
    "not-a-schema.json": ":1: got an array, expected a JSON Schema: an object",
}
KINDS = {
    "samples": (load_samples, SuiteError, SAMPLES),
    "prompts": (load_prompt, SuiteError, PROMPTS),
    "config": (load_config, ConfigError, CONFIG),
    "contracts": (load_contract, SuiteError, CONTRACTS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_asset_is_listed(kind):
    assert {path.name for path in (ASSETS / kind).iterdir()} == set(KINDS[kind][2])


def test_every_folder_of_assets_for_goldens_is_listed():
    assert set(KINDS) <= {folder.name for folder in ASSETS.iterdir()}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (_, _, listed) in KINDS.items() for name in listed])
def test_broken_file_is_rejected_for_its_defect(kind, name):
    load, error, listed = KINDS[kind]
    with pytest.raises(AigateError) as raised:
        load(ASSETS / kind / name)
    assert type(raised.value) is error
    assert listed[name] in str(raised.value)
    blamed = "empty.md" if name == "version-file-of-other-kind.toml" else name
    blamed = "unknown-table.toml" if name.startswith("version-key-") else blamed
    assert str(raised.value).split("\n")[0].partition(blamed)[0].startswith(str(ASSETS / kind))
    assert blamed in str(raised.value).split("\n")[0]
