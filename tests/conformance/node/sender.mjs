// A sender's system on fhir-kit-client, from statement to withdrawal. Standard input: the FHIR base,
// a token, three Bundles, and the recipient that is pushed to. Standard output: a line for each thing
// that was seen to hold.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'fhir-kit-client';

const given = JSON.parse(readFileSync(0, 'utf8'));
const client = new Client({ baseUrl: given.base, bearerToken: given.token });

const tell = (line) => console.log(line);

async function until(ask, what) {
  for (let tries = 0; tries < 200; tries += 1) {
    const found = await ask();
    if (found) return found;
    await sleep(100);
  }
  throw new Error(what);
}

async function refused(call, status, code) {
  const error = await call.then(() => assert.fail('not refused'), (reason) => reason);
  assert.equal(error.response.status, status, JSON.stringify(error.response?.data));
  const codes = error.response.data.issue.flatMap((i) => i.details.coding.map((c) => c.code));
  assert.ok(codes.includes(code), codes.join());
}

async function refer(bundle) {
  const answer = await client.transaction({ body: bundle });
  return Object.fromEntries(answer.entry.map((e) => e.response.location.split('/').slice(0, 2)));
}

const known = (id) =>
  until(async () => {
    const task = await client.read({ resourceType: 'Task', id });
    return task.meta.versionId === '0' ? null : task;
  }, 'never known');

const ifMatch = (resource) => ({ headers: { 'If-Match': `W/"${resource.meta.versionId}"` } });

const statement = await client.capabilityStatement();
assert.equal(statement.fhirVersion, '4.0.1');
const smart = await client.smartAuthMetadata();
assert.ok(String(smart.tokenUrl ?? smart.token_endpoint).endsWith('/oauth/token'));
tell('statement and SMART configuration are read');

const ids = await refer(given.bundles[0]);
await until(async () => {
  const page = await client.search({ resourceType: 'Task', searchParams: { status: 'accepted' } });
  return (page.entry ?? []).some((e) => e.resource.id === ids.Task);
}, 'never accepted');
for (const resourceType of ['Task', 'ServiceRequest', 'Patient', 'Consent']) {
  const found = await client.read({ resourceType, id: ids[resourceType] });
  assert.equal(found.id, ids[resourceType]);
}
tell('a transaction is accepted, delivered and answered; its four resources are read');

await refused(
  client.patch({ resourceType: 'Task', id: ids.Task, jsonPatch: [] }),
  428,
  'precondition-required',
);
const second = await refer(given.bundles[1]);
const task = await known(second.Task);
const taken = [
  { op: 'replace', path: '/status', value: 'cancelled' },
  { op: 'add', path: '/statusReason', value: given.reason },
];
const old = { headers: { 'If-Match': 'W/"999"' } };
await refused(
  client.patch({ resourceType: 'Task', id: task.id, jsonPatch: taken, options: old }),
  412,
  'conflict',
);
await client.patch({ resourceType: 'Task', id: task.id, jsonPatch: taken, options: ifMatch(task) });
assert.equal((await client.read({ resourceType: 'Task', id: task.id })).status, 'cancelled');
tell('JSON Patch under its version cancels; without one 428, under another 412');

await refer(given.bundles[2]);
const first = await client.search({ resourceType: 'Task', searchParams: { _count: 1 } });
const next = await client.nextPage({ bundle: first });
assert.notEqual(first.entry[0].resource.id, next.entry[0].resource.id);
const people = await client.search({
  resourceType: 'Patient',
  searchParams: { identifier: given.identifier },
  options: { postSearch: true },
});
assert.equal(people.entry[0].resource.id, ids.Patient);
tell('pages follow one another; a person is found by POST');

const consent = await client.read({ resourceType: 'Consent', id: ids.Consent });
await client.update({
  resourceType: 'Consent',
  id: consent.id,
  body: { ...consent, status: 'inactive' },
  options: ifMatch(consent),
});
await until(
  async () => (await client.read({ resourceType: 'Task', id: ids.Task })).status === 'cancelled',
  'never revoked',
);
tell('the Consent is withdrawn by PUT, the Task is revoked');

const broken = structuredClone(given.bundles[0]);
broken.entry.find((e) => e.resource.resourceType === 'Task').resource.priority = 'soon';
broken.identifier.value = 'broken';
await refused(client.transaction({ body: broken }), 422, 'code-invalid');
await refused(client.read({ resourceType: 'Task', id: '1' }), 404, 'not-found');
await refused(client.search({ resourceType: 'Task', searchParams: { code: 'x' } }), 400, 'parameter');
tell('refusals are its errors, with our OperationOutcome');
