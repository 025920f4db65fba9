-- id: seal-changed
-- title: Seals that changed between hand-overs
-- title-zh: 交接之间变更的封志
-- clause: carriage rules, art. 10: a seal is replaced by customs alone, on record
-- clause-zh: 货物运输规则第十条：封志仅得由海关更换并记录在案
-- severity: critical
-- subject: hand_over_id
-- owner: giver
SELECT hand_over_id,
       consignment,
       owner AS giver,
       receiver,
       seal_expected,
       seal AS seal_given,
       seal_found,
       given_at
FROM logistics.hand_over
WHERE seal <> seal_expected OR (seal_found IS NOT NULL AND seal_found <> seal)
ORDER BY hand_over_id
