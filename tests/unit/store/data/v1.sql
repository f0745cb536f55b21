-- A database as version 1 of the schema left it, after two runs.
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE event (
  run TEXT NOT NULL, number INTEGER NOT NULL, time_us INTEGER NOT NULL, status TEXT NOT NULL, text TEXT NOT NULL,
  flags INTEGER NOT NULL, log_offset INTEGER NOT NULL, PRIMARY KEY (run, number)) WITHOUT ROWID;
INSERT INTO "event" VALUES('01a1fa66e22678b69397cc756a4779ec',1,1795202408998586,'machine_requested','Run created -- waiting for a CPU machine.',1,0);
INSERT INTO "event" VALUES('01a1fa66e22678b69397cc756a4779ec',2,1795202408999631,'building','Run is building',1,0);
INSERT INTO "event" VALUES('01a1fa66e22678b69397cc756a4779ec',3,1795202408999631,'building','Machine acquired -- commencing run',0,0);
INSERT INTO "event" VALUES('01a1fa66e22678b69397cc756a4779ec',4,1795202409003509,'running','Run is running',1,0);
INSERT INTO "event" VALUES('01a1fa66e22678b69397cc756a4779ec',5,1795202409011738,'saving','Run is saving',1,3);
INSERT INTO "event" VALUES('01a1fa66e22678b69397cc756a4779ec',6,1795202409011738,'saving','Scanning for modified or new files from the run',0,3);
INSERT INTO "event" VALUES('01a1fa66e22678b69397cc756a4779ec',7,1795202409019225,'saving','Saved 1 file, 2 B (142 B new) in 0.0 s',0,3);
INSERT INTO "event" VALUES('01a1fa66e22678b69397cc756a4779ec',8,1795202409019225,'pushing','Run is pushing',1,3);
INSERT INTO "event" VALUES('01a1fa66e22678b69397cc756a4779ec',9,1795202409020195,'complete','Total run time: 0.009837s',1,3);
INSERT INTO "event" VALUES('01a1fa66e22678b69397cc756a4779ec',10,1795202409020195,'complete','Run 1 complete',3,3);
INSERT INTO "event" VALUES('01a1fa66e24b71c580bfed010b3bcfbf',1,1795202409035204,'machine_requested','Run created -- waiting for a CPU machine.',1,0);
INSERT INTO "event" VALUES('01a1fa66e24b71c580bfed010b3bcfbf',2,1795202409036029,'building','Run is building',1,0);
INSERT INTO "event" VALUES('01a1fa66e24b71c580bfed010b3bcfbf',3,1795202409036029,'building','Machine acquired -- commencing run',0,0);
INSERT INTO "event" VALUES('01a1fa66e24b71c580bfed010b3bcfbf',4,1795202409039705,'running','Run is running',1,0);
INSERT INTO "event" VALUES('01a1fa66e24b71c580bfed010b3bcfbf',5,1795202409045552,'saving','Run is saving',1,7);
INSERT INTO "event" VALUES('01a1fa66e24b71c580bfed010b3bcfbf',6,1795202409045552,'saving','Scanning for modified or new files from the run',0,7);
INSERT INTO "event" VALUES('01a1fa66e24b71c580bfed010b3bcfbf',7,1795202409045600,'pushing','Run is pushing',1,7);
INSERT INTO "event" VALUES('01a1fa66e24b71c580bfed010b3bcfbf',8,1795202409045622,'complete','Total run time: 0.009431s',1,7);
INSERT INTO "event" VALUES('01a1fa66e24b71c580bfed010b3bcfbf',9,1795202409045622,'complete','Run 2 complete',3,7);
CREATE TABLE key (
  owner TEXT NOT NULL, key TEXT NOT NULL, run TEXT NOT NULL, body_hash TEXT NOT NULL, time_us INTEGER NOT NULL,
  PRIMARY KEY (owner, key)) WITHOUT ROWID;
INSERT INTO "key" VALUES('ada','01a1fa66e226757abdb2fee30031cdbe','01a1fa66e22678b69397cc756a4779ec','2284f964e0e03d7b1f890c4d8715a1c290c5cd9866da5bfd08aa43673388b43b',1795202408998586);
INSERT INTO "key" VALUES('ada','01a1fa66e24b7940ae62423931736f27','01a1fa66e24b71c580bfed010b3bcfbf','c74e358f485a84ac9e1eca7879c625ffc221efb79bf7ed5444240d11f6024c02',1795202409035204);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('incarnation','44664cfa13378c4e8d5ece1f17f3eefc');
CREATE TABLE owner (name TEXT PRIMARY KEY, last_number INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "owner" VALUES('ada',2);
CREATE TABLE project (
  owner TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL, archived INTEGER NOT NULL, created_us INTEGER NOT NULL,
  PRIMARY KEY (owner, name)) WITHOUT ROWID;
INSERT INTO "project" VALUES('ada','paper','first runs',0,1795202408985918);
CREATE TABLE repository (
  owner TEXT NOT NULL, workspace TEXT NOT NULL, name TEXT NOT NULL, used_us INTEGER NOT NULL,
  PRIMARY KEY (owner, workspace)) WITHOUT ROWID;
CREATE TABLE run (
  id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, number INTEGER NOT NULL,
  status TEXT NOT NULL, final INTEGER NOT NULL, version INTEGER NOT NULL, archived INTEGER NOT NULL,
  created_us INTEGER NOT NULL, placed_us INTEGER NOT NULL, started_us INTEGER NOT NULL, ended_us INTEGER NOT NULL,
  creator TEXT NOT NULL, machine TEXT NOT NULL, reason_code TEXT NOT NULL, reason TEXT NOT NULL,
  exit_code INTEGER, signal INTEGER, log_bytes INTEGER NOT NULL,
  outputs TEXT NOT NULL, output_files INTEGER NOT NULL, output_bytes INTEGER NOT NULL,
  epoch INTEGER NOT NULL, entries INTEGER NOT NULL, taken INTEGER NOT NULL, wanted TEXT NOT NULL,
  project TEXT NOT NULL, labels TEXT NOT NULL, identity TEXT NOT NULL, workspace TEXT NOT NULL, request TEXT NOT NULL,
  PRIMARY KEY (owner, number));
INSERT INTO "run" VALUES('01a1fa66e22678b69397cc756a4779ec','ada',1,'complete',1,2,0,1795202408998586,1795202408998586,1795202409003509,1795202409008423,'ada','vm','','',3,NULL,3,'sff536702151233c82a878ec6cb530dac8dc8aa4bf319795632c6a2ceb68d0535',1,2,1,10,7,'','paper','
kept
','71f6c06909c631f91ef39c2a500cb7aee990058fa63543bc3c366ac9cd53bd64','','{"command":"echo hi; echo 5 > out; exit 3","env":{"A":"1"},"labels":["kept"],"project":"paper"}');
INSERT INTO "run" VALUES('01a1fa66e24b71c580bfed010b3bcfbf','ada',2,'complete',1,2,0,1795202409035204,1795202409035204,1795202409039705,1795202409044635,'ada','vm','','',0,NULL,7,'',0,0,1,9,6,'','','','c74e358f485a84ac9e1eca7879c625ffc221efb79bf7ed5444240d11f6024c02','','{"command":"echo héllo"}');
CREATE INDEX run_active ON run (created_us) WHERE final = 0;
CREATE INDEX run_identity ON run (owner, identity);
CREATE INDEX run_project ON run (owner, project) WHERE project <> '';
CREATE INDEX key_time ON key (time_us);
COMMIT;
