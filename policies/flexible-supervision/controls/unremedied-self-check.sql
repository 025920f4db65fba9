-- id: unremedied-self-check
-- title: Findings of self-checks that were not remedied
-- title-zh: 自查发现问题未整改
-- clause: flexible supervision rules, art. 12: who finds and remedies its own faults in time is not looked at for them
-- clause-zh: 柔性监管规则第十二条：企业自查发现问题并及时整改的，不再就此查阅
-- severity: medium
-- subject: self_check_id
-- owner: owner
SELECT checked.self_check_id AS self_check_id,
       checked.owner AS owner,
       checked.agency AS agency,
       checked.control_set AS control_set,
       checked.findings - checked.remedied AS unremedied,
       checked.reported_at AS reported_at
FROM flexible_supervision.self_check AS checked
WHERE checked.state = 'reported'
  AND checked.findings > checked.remedied
  AND :as_of_time - checked.reported_at > :days * 86400000
ORDER BY checked.self_check_id
