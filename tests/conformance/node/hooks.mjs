// standardwebhooks (npm), unmodified, as a partner's system: it verifies a message of the hub, refuses
// the same message with one byte changed, and signs an answer. JSON in, JSON out.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const given = JSON.parse(readFileSync(0, "utf8"));
const hook = new Webhook(given.secret);

function verifies(body) {
  try {
    hook.verify(body, given.headers);
    return true;
  } catch {
    return false;
  }
}

const at = new Date(given.answer.at * 1000);
console.log(
  JSON.stringify({
    verified: verifies(given.body),
    tampered: verifies(given.body.replace("{", "{ ")),
    signature: hook.sign(given.answer.id, at, given.answer.body),
  }),
);
