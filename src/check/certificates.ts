/**
 * Whether kube-apiserver trusts what is served, and for how long.
 *
 * | `--certificates` of the Deployment | what signs                      | what is served                |
 * |------------------------------------|---------------------------------|-------------------------------|
 * | self                               | the CA in the Secret            | made by each replica          |
 * | files                              | known by what is published only | in the Secret that is mounted |
 *
 * The Secret of the own CA outlives a change of the mode, so that its being there says nothing.
 */
import { X509Certificate } from 'node:crypto';
import { splitCertificates } from '../certs/authority.ts';
import type { Configuration, WebhookEntry } from '../certs/publish.ts';
import { ownText, type Secret } from '../kubernetes.ts';
import { isSelfManaged, ofDeployment } from './deployment.ts';
import { entriesOf, ofHooks, REPAIR_CHART } from './registered.ts';
import type { Snapshot } from './snapshot.ts';
import { type Check, failure, ofRead, ok, some, type Verdict, warning } from './verdict.ts';

const group = 'hooks';
const DAY_MS = 24 * 60 * 60 * 1000;
/** So long before the end; or where a certificate lives shortly, such a part of its life: whoever renews it does so at a third as a rule. */
const FAILURE = { days: 7, partOfLife: 1 / 20 };
const WARNING = { days: 30, partOfLife: 1 / 5 };
const RENEW_ELSEWHERE =
  "Renew it where it comes from: cert-manager's Certificate, or the Secret that is mounted.";

export const CERTIFICATE_CHECKS: readonly Check[] = [
  { id: 'ca-bundle', group, when: 'post', judge: ofHooks(judgeBundles) },
  { id: 'ca-published', group, when: 'post', judge: ofHooks(judgePublished) },
  { id: 'certificate-life', group, when: 'post', judge: ofHooks(judgeLife) },
  { id: 'served-certificate', group, when: 'post', judge: judgeServed },
];

type Moment = 'valid' | 'not yet' | 'ended';

function momentOf({ validFromDate, validToDate }: X509Certificate, nowMs: number): Moment {
  if (nowMs < validFromDate.getTime()) return 'not yet';
  return nowMs <= validToDate.getTime() ? 'valid' : 'ended';
}

const parse = (pem: string): X509Certificate[] =>
  splitCertificates(pem).map((cert) => new X509Certificate(cert));

const bundleOf = ({ clientConfig }: WebhookEntry): X509Certificate[] =>
  parse(Buffer.from(clientConfig?.caBundle ?? '', 'base64').toString());

/** The CA that signs now. */
const signingCa = ({ data }: Secret): X509Certificate | undefined =>
  parse(Buffer.from(ownText(data, 'ca.crt') ?? '', 'base64').toString())[0];

function judgeBundles(configurations: readonly Configuration[], { nowMs }: Snapshot): Verdict {
  const wayOut =
    'The leader publishes the CA within seconds (or cert-manager\'s cainjector does): see its log for "can\'t be looked after now".';
  const entries = entriesOf(configurations);
  if (entries.length === 0) return failure('there is no hook to trust', REPAIR_CHART);
  const empty = entries.filter((entry) => bundleOf(entry).length === 0);
  if (empty.length > 0)
    return failure(`no CA is published for ${some(empty.map(({ name }) => name))}`, wayOut);
  const useless = entries.filter((entry) =>
    bundleOf(entry).every((cert) => momentOf(cert, nowMs) !== 'valid'),
  );
  if (useless.length === 0) return ok('every hook trusts a CA that is valid');
  const isEarly = useless.some((entry) =>
    bundleOf(entry).some((cert) => momentOf(cert, nowMs) === 'not yet'),
  );
  return failure(
    `the published CA ${isEarly ? 'is not valid yet' : 'has ended'} for ${some(useless.map(({ name }) => name))}`,
    wayOut,
  );
}

/** For a CA of our own: what signs is what is trusted. */
function judgePublished(configurations: readonly Configuration[], snapshot: Snapshot): Verdict {
  return ofDeployment(snapshot, 'where certificates come from', (deployment) => {
    if (!isSelfManaged(deployment)) return ok('certificates are not self-managed');
    const wayOut = 'The leader makes a new CA within seconds; see its log.';
    return ofRead(
      snapshot.caSecret,
      'the Secret of the own CA',
      (secret) => {
        const ca = signingCa(secret);
        if (ca === undefined)
          return failure(
            `Secret ${secret.metadata?.name} holds no certificate in ca.crt`,
            `${wayOut} Deleting the Secret is safe too.`,
          );
        const distrusting = entriesOf(configurations).filter(
          (entry) => !bundleOf(entry).some(({ fingerprint256 }) => fingerprint256 === ca.fingerprint256),
        );
        return distrusting.length === 0
          ? ok('the CA that signs is the one that is trusted')
          : failure(
              `the CA that signs is not trusted by ${some(distrusting.map(({ name }) => name))}`,
              'Something else writes caBundle: let no GitOps tool or cert-manager manage that field in mode self-managed.',
            );
      },
      failure('the Secret of the own CA is not there', wayOut),
    );
  });
}

function judgeLife(
  configurations: readonly Configuration[],
  { deployment, caSecret, nowMs }: Snapshot,
): Verdict {
  const secret =
    deployment.found && isSelfManaged(deployment.value) && caSecret.found ? caSecret.value : undefined;
  const signing = secret === undefined ? undefined : signingCa(secret);
  const cas =
    signing === undefined ? entriesOf(configurations).map((entry) => longest(entry, nowMs)) : [signing];
  const [first, ...others] = cas.filter((ca) => ca !== undefined);
  if (first === undefined) return failure('there is no certificate', 'See the lines above.');
  const ca = others.reduce((least, other) => (endOf(other) < endOf(least) ? other : least), first);
  return judgeValidity(
    'the CA',
    ca,
    nowMs,
    secret === undefined
      ? RENEW_ELSEWHERE
      : `The leader renews it 60 days before its end: see its log, or ask for it: kubectl annotate secret ${secret.metadata?.name} audit.kubermatic.k8c.io/rotate=now`,
  );
}

const endOf = ({ validToDate }: X509Certificate): number => validToDate.getTime();

/** The CA of an entry by which it will be trusted longest from now on; where none is valid, one that is not. */
function longest(entry: WebhookEntry, nowMs: number): X509Certificate | undefined {
  const byEnd = bundleOf(entry).sort((left, right) => endOf(right) - endOf(left));
  return byEnd.find((cert) => momentOf(cert, nowMs) === 'valid') ?? byEnd[0];
}

function judgeServed(snapshot: Snapshot): Verdict {
  return ofDeployment(snapshot, 'which certificate is served', (deployment) => {
    if (isSelfManaged(deployment)) return ok('each replica makes its own certificate, and renews it in time');
    return ofRead(
      snapshot.servedCertificate,
      'the certificate that is served',
      (pem) => {
        const [cert] = parse(pem);
        return cert === undefined
          ? failure('there is no certificate in what is mounted to be served', RENEW_ELSEWHERE)
          : judgeValidity('the certificate that is served', cert, snapshot.nowMs, RENEW_ELSEWHERE);
      },
      failure('the Secret with the certificate that is to be served is not there', RENEW_ELSEWHERE),
    );
  });
}

function judgeValidity(what: string, cert: X509Certificate, nowMs: number, wayOut: string): Verdict {
  const moment = momentOf(cert, nowMs);
  if (moment === 'not yet')
    return failure(
      `${what} is not valid before ${cert.validFromDate.toISOString()}`,
      `See the clock of whoever made it. ${wayOut}`,
    );
  if (moment === 'ended') return failure(`${what} has ended on ${cert.validToDate.toISOString()}`, wayOut);
  const leftMs = endOf(cert) - nowMs;
  const lifeMs = endOf(cert) - cert.validFromDate.getTime();
  const isWithin = ({ days, partOfLife }: typeof WARNING): boolean =>
    leftMs < Math.min(days * DAY_MS, lifeMs * partOfLife);
  const text = `${what} is valid for ${Math.floor(leftMs / DAY_MS)} more day(s)`;
  if (isWithin(FAILURE)) return failure(text, wayOut);
  return isWithin(WARNING) ? warning(text, wayOut) : ok(text);
}
