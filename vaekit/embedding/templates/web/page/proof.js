// The self-test, on the page: does this browser give the numbers of the bundle?

import { replay } from "../lib/replay.js";

const element = (id) => document.getElementById(id);

/** Replay the golden vectors, a check at a time, so that the page stays alive meanwhile. */
export async function showProof(model) {
  say("running", "Self-test is running");
  const checks = [];
  for await (const check of replay(model)) {
    checks.push(check);
    element("checks").append(row(check));
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  const failed = checks.filter((check) => !check.passed);
  if (failed.length === 0) {
    say("passed", `Self-test passed: ${checks.length} checks`);
    element("verdict").textContent =
      "This browser gives the numbers of the bundle: the noise bit for bit, and both halves of the model within the tolerance.";
  } else {
    say("failed", `Self-test FAILED: ${failed.length} of ${checks.length} checks`);
    element("verdict").textContent = `Do not trust this page: ${failed.map((check) => check.what).join("; ")}.`;
  }
}

/** Something kept the page from starting: a file that is missing or changed, say. */
export function showFailure(error) {
  say("failed", "Self-test FAILED: the page could not start");
  element("verdict").textContent = error.message;
}

function say(state, text) {
  document.documentElement.dataset.selfTest = state;
  element("badge").textContent = text;
}

function row({ what, measured, tolerance, passed }) {
  const cells = [what, number(measured), number(tolerance)].map((text) => {
    const cell = document.createElement("td");
    cell.textContent = text;
    return cell;
  });
  const line = document.createElement("tr");
  line.className = passed ? "passed" : "failed";
  line.append(...cells);
  return line;
}

const number = (value) => (value === 0 ? "0" : Number.isInteger(value) ? String(value) : value.toExponential(1));
