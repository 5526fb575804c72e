// node self-test.js: does this machine give the numbers of the bundle? Exits with 1 where it does not.

import { open, replay } from "./index.js";

const checks = [];
try {
  const model = await open();
  for await (const check of replay(model)) {
    checks.push(check);
    const measured = check.measured === 0 ? "0" : check.measured.toExponential(1);
    const limit = check.tolerance === 0 ? "" : `  (at most ${check.tolerance.toExponential(0)})`;
    console.log(`${check.passed ? "ok    " : "FAILED"}  ${check.what.padEnd(30)} ${measured}${limit}`);
  }
  await model.close();
} catch (error) {
  console.log(`FAILED  ${error.message}`);
  process.exit(1);
}
const failed = checks.filter((check) => !check.passed).length;
console.log(failed === 0 ? `all ${checks.length} checks passed` : `${failed} of ${checks.length} checks FAILED`);
process.exitCode = failed === 0 ? 0 : 1;
