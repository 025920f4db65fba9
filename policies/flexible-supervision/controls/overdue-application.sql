-- id: overdue-application
-- title: Applications undecided after their time
-- title-zh: 逾期未决的申请
-- clause: flexible supervision rules, art. 4: an agency decides within the time it was given, or its silence does
-- clause-zh: 柔性监管规则第四条：审批部门应在期限内决定，逾期即依规则视为决定
-- severity: high
-- subject: application_id
-- owner: agency
SELECT application.application_id AS application_id,
       application.agency AS agency,
       application.owner AS applicant,
       application.state AS application_state,
       CASE application.state WHEN 'filed' THEN application.decide_by ELSE application.supplement_by END AS due_at
FROM flexible_supervision.application AS application
WHERE (application.state = 'filed' AND :as_of_time - application.decide_by > :grace)
   OR (application.state = 'returned' AND :as_of_time - application.supplement_by > :grace)
ORDER BY application.application_id
