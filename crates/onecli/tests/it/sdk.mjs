// Drives the SDK as a NanoClaw does; prints one line of JSON. argv: folder of the package, REST, key.
import { createRequire } from 'node:module';
const [folder, url, apiKey] = process.argv.slice(2);
const { OneCLI } = createRequire(import.meta.url)(folder);
const told = { seen: [] };
const tried = async (what) => {
  try {
    return await what();
  } catch (error) {
    return { threw: error.name, status: error.statusCode };
  }
};
const one = new OneCLI({ url, apiKey });
told.first = await tried(() => one.ensureAgent({ name: 'Gamma Group', identifier: 'gamma-1' }));
told.again = await tried(() => one.ensureAgent({ name: 'Gamma Group', identifier: 'gamma-1' }));
told.digit = await tried(() => one.ensureAgent({ name: 'x', identifier: '1abc' }));
told.made = await tried(() => one.createAgent({ name: 'Delta', identifier: 'delta' }));
const apply = async (client, agent) => {
  const args = [];
  const applied = await tried(() => client.applyContainerConfig(args, { addHostMapping: false, agent }));
  return { applied, args };
};
told.config = await apply(one, 'gamma-1');
told.nobody = await apply(one, 'nobody');
told.wrongKey = await tried(() => new OneCLI({ url, apiKey: 'oc_wrong' }).ensureAgent({ name: 'x', identifier: 'x' }));
told.down = await apply(new OneCLI({ url: 'http://127.0.0.1:9', apiKey }), 'gamma-1');
told.skill = typeof (await tried(() => one.getGatewaySkill()));
const raw = folder.includes('second')
  ? await tried(() => one.getContainerConfig({ agent: 'gamma-1' }))
  : await tried(() => one.getContainerConfig('gamma-1'));
told.raw = Object.keys(raw);
console.log(JSON.stringify({ ready: told }));
// From here on it decides: what has "no" in its path is denied, and one callback fails the first time.
let failed = false;
const handle = one.configureManualApproval(async (request) => {
  told.seen.push(request);
  console.log(JSON.stringify({ asked: request }));
  if (request.path.includes('/fails') && !failed) {
    failed = true;
    throw new Error('on purpose');
  }
  return request.path.includes('/no') ? 'deny' : 'approve';
});
process.stdin.on('data', () => {});
process.stdin.on('end', () => {
  handle.stop();
  process.exit(0);
});
