// ONNX Runtime 1.29 and later report to their maker from their import on, so this module stands before it: no report, and no file in
// the user's cache, unless ORT_DISABLE_TELEMETRY is set, to 0 say. In a Worker the variable must be set before the process begins.

process.env.ORT_DISABLE_TELEMETRY ??= "1";
