/** The peer's entry point, as `pepr init` writes it, but for the port: Pepr's own is fixed, and the benchmark needs a free one. */
import { PeprModule } from 'pepr';
import { AuditLogging } from './capabilities/audit-logging';
import cfg from './package.json';

const module = new PeprModule(cfg, [AuditLogging], { deferStart: true });
if (process.env.PEPR_MODE !== 'build') module.start(Number(process.env.BENCH_PORT));
