// An OpenID Connect provider for tests: node provider.js SETTINGS.json, which server.py writes.
//
// As at INDIGO IAM, the scope "profile" includes groups, organisation_name and preferred_username.

import { generateKeyPairSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { Provider } from 'oidc-provider';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { issuer, port, clients, organisation, users } = settings;

const signing = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });

function claimsOf(name) {
  const { full_name: fullName, groups } = users[name];
  return {
    sub: users[name].sub,
    name: fullName,
    preferred_username: name,
    email: `${name}@example.org`,
    email_verified: true,
    organisation_name: organisation,
    groups,
  };
}

function findAccount(ctx, name) {
  return users[name] && { accountId: name, claims: () => claimsOf(name) };
}

// No page asks for consent, because the clients are ours.
async function grantAll(ctx) {
  const grant = new ctx.oidc.provider.Grant({
    accountId: ctx.oidc.session.accountId,
    clientId: ctx.oidc.client.clientId,
  });
  grant.addOIDCScope('openid profile email');
  await grant.save();
  return grant;
}

function page(title, content) {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${title}</title><style>
  body { font: 16px/1.5 sans-serif; background: #eef1f5; color: #1c2733; }
  main { max-width: 22rem; margin: 12vh auto; padding: 2rem; background: white; border-radius: 8px;
         box-shadow: 0 1px 6px #0003; }
  h1 { font-size: 1.3rem; margin-top: 0; }
  label { display: block; margin: .8rem 0; }
  input { display: block; width: 100%; box-sizing: border-box; padding: .5rem; font: inherit; }
  button { width: 100%; padding: .6rem; font: inherit; color: white; background: #1f5fa8; border: 0;
           border-radius: 4px; cursor: pointer; }
  .error { color: #a31515; }
</style></head><body><main><h1>${title}</h1>${content}</main></body></html>`;
}

const provider = new Provider(issuer, {
  clients,
  cookies: { keys: [randomBytes(32).toString('hex')] },
  jwks: { keys: [{ ...signing, use: 'sig', alg: 'RS256' }] },
  claims: {
    openid: ['sub'],
    profile: ['name', 'preferred_username', 'organisation_name', 'groups'],
    email: ['email', 'email_verified'],
  },
  conformIdTokenClaims: false,
  findAccount,
  loadExistingGrant: grantAll,
  interactions: { url: (ctx, interaction) => `/login/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: {
      logoutSource: (ctx, form) => {
        ctx.body = page('Log out', `${form}<p>Log out of ${organisation} as well?</p>
          <button type="submit" form="op.logoutForm" name="logout" value="yes">Log out</button>`);
      },
    },
  },
});

async function formOf(request) {
  let text = '';
  for await (const part of request) {
    text += part;
    if (text.length > 10_000) throw new Error('The form is too long.');
  }
  return new URLSearchParams(text);
}

function isPassword(name, password) {
  if (!Object.hasOwn(users, name)) return false;
  const [given, expected] = [password, users[name].password].map((text) => Buffer.from(text));
  return given.length === expected.length && timingSafeEqual(given, expected);
}

provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/login/')) {
    await next();
    return;
  }
  await provider.interactionDetails(ctx.req, ctx.res); // throws unless a client has started this login
  let error = '';
  if (ctx.method === 'POST') {
    const form = await formOf(ctx.req);
    const name = form.get('name') ?? '';
    if (isPassword(name, form.get('password') ?? '')) {
      ctx.respond = false;
      await provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: name } });
      return;
    }
    ctx.status = 403;
    error = '<p class="error">Wrong name or password.</p>';
  }
  ctx.body = page(`Log in to ${organisation}`, `${error}<form method="post">
    <label>Name <input name="name" autocomplete="username" autofocus required></label>
    <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
    <button>Log in</button></form>`);
});

provider.listen(port, '127.0.0.1');
