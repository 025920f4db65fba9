-- id: decided-by-silence
-- title: Applications that an agency let decide themselves
-- title-zh: 因审批部门逾期而决定的申请
-- clause: flexible supervision rules, art. 4: an agency decides within the time it was given
-- clause-zh: 柔性监管规则第四条：审批部门应在办理期限内作出决定
-- severity: medium
-- subject: application_id
-- owner: agency
SELECT application.application_id AS application_id,
       application.agency AS agency,
       application.owner AS applicant,
       application.procedure AS procedure,
       application.state AS application_state,
       application.filed_at AS filed_at,
       application.decided_at AS decided_at
FROM flexible_supervision.application AS application
WHERE application.by_silence = 1
ORDER BY application.application_id
