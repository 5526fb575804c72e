"""Serve a model repository's graphs by the Open Inference Protocol (v2) with KServe: what tests/embedding/test_triton.py asks.

    python oip_server.py models 8000

Runs in an environment of its own, with kserve, onnxruntime and numpy; knows nothing of vaekit.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import kserve
import onnxruntime


class Graph(kserve.Model):
    """One model of the repository: its graph, run as the request says."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder.name)
        self.path = folder / "1" / "model.onnx"

    def load(self) -> bool:
        """Open the graph."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        self.ready = True
        return self.ready

    def predict(self, payload: kserve.InferRequest, *_: Any, **__: Any) -> kserve.InferResponse:
        """Run one request."""
        names = [output.name for output in self.session.get_outputs()]
        results = self.session.run(names, {tensor.name: tensor.as_numpy() for tensor in payload.inputs})
        outputs = []
        for name, result in zip(names, results, strict=True):
            output = kserve.InferOutput(name, list(result.shape), "FP32")
            output.set_data_from_numpy(result, binary_data=False)
            outputs.append(output)
        return kserve.InferResponse(payload.id or "", self.name, outputs)


if __name__ == "__main__":
    models = [Graph(folder) for folder in sorted(Path(sys.argv[1]).iterdir())]
    for model in models:
        model.load()
    kserve.ModelServer(http_port=int(sys.argv[2]), enable_grpc=False, enable_docs_url=False, workers=1).start(models)
