# Decoders in the form of ONNX Runtime's model builder, token by token, against ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import onnxruntime
import pytest
import qcc
from decoders import Decoder

STEPS = (7, 1, 1, 3, 1)


def states(decoder):
    return {name: name.replace("past_key_values", "present") for name in decoder.caches()}


def run_peer(path, decoder, ids):
    """Logits of each step; caches are passed on."""
    session = onnxruntime.InferenceSession(path)
    names, past, results, at = [o.name for o in session.get_outputs()], None, [], 0
    for count in STEPS:
        out = session.run(None, decoder.feeds(ids[:, at : at + count], past))
        past = {name: out[names.index(output)] for name, output in states(decoder).items()}
        results.append(out[0])
        at += count
    return results


@pytest.mark.parametrize("batch", [1, 2])
def test_caches_that_grow(tmp_path, batch):
    decoder = Decoder()
    steps = STEPS if batch == 1 else STEPS[:1]  # the peer takes several tokens behind a past of one batch only
    ids = np.random.default_rng(0).integers(0, decoder.vocabulary, (batch, sum(steps)))
    path = decoder.save(tmp_path / "m.onnx")
    # What the peer computes in int8.
    model = qcc.load(qcc.compile(path, tmp_path / "m.qcc", precision="w4a8"))
    session, past, at = onnxruntime.InferenceSession(path), None, 0
    for count in steps:
        feeds = decoder.feeds(ids[:, at : at + count], past)
        got, want = list(model(feeds).values()), session.run(None, feeds)
        assert [x.shape for x in got] == [x.shape for x in want]
        for x, y in zip(got, want, strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=3e-2 * np.abs(y).max())
            assert np.linalg.norm(x - y) < 1e-2 * np.linalg.norm(y)
        past = dict(zip(states(decoder), got[1:], strict=True))
        at += count


@pytest.mark.parametrize("attributes", [{}, {"local_window_size": 4}])
def test_caches_that_stay_in_the_context(tmp_path, attributes):
    """A buffer of fixed length as a state gives what caches give that are passed on; what is behind the tokens changes nothing."""
    decoder = Decoder(attributes=attributes)
    ids = np.random.default_rng(0).integers(0, decoder.vocabulary, (1, sum(STEPS)))
    path = decoder.save(tmp_path / "m.onnx")
    dims = {"batch_size": 1, "past_sequence_length": 200}
    artifact = qcc.compile(path, tmp_path / "m.qcc", precision="w4a8", dim=dims, state=states(decoder), drop_output="^present")
    model = qcc.load(artifact)
    assert [t.name for t in model.inputs] == ["input_ids", "attention_mask"]
    assert [t.name for t in model.outputs] == ["logits"]
    context = model.context()
    for _ in range(2):
        at = 0
        for want in run_peer(path, decoder, ids):
            count = want.shape[1]
            feeds = {"input_ids": ids[:, at : at + count], "attention_mask": np.ones((1, at + count), np.int64)}
            got = context.run(feeds)["logits"]
            assert np.linalg.norm(got - want) < 1e-2 * np.linalg.norm(want)
            at += count
        context.reset()


def test_more_tokens_than_the_buffer_has(tmp_path):
    decoder = Decoder(layers=1)
    path = decoder.save(tmp_path / "m.onnx")
    dims = {"batch_size": 1, "past_sequence_length": 8}
    artifact = qcc.compile(path, tmp_path / "m.qcc", precision="w4a8", dim=dims, state=states(decoder), drop_output="^present")
    feeds = {"input_ids": np.zeros((1, 9), np.int64), "attention_mask": np.ones((1, 9), np.int64)}
    with pytest.raises(qcc.QccError):
        qcc.load(artifact).context().run(feeds)
