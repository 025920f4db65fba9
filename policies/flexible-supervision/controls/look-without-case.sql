-- id: look-without-case
-- title: Looks that no case followed
-- title-zh: 查阅后未立案
-- clause: flexible supervision rules, art. 10: a look leads to a case, or is closed with a result, and is accounted for
-- clause-zh: 柔性监管规则第十条：查阅应当立案或附结果办结，并接受考核
-- severity: medium
-- subject: look_id
-- owner: owner
SELECT look.look_id AS look_id,
       look.owner AS owner,
       look.company AS company,
       look.state AS look_state,
       look.legal_basis AS legal_basis,
       look.opened_at AS opened_at,
       look.closed_at AS closed_at
FROM flexible_supervision.look AS look
WHERE look.case_no IS NULL
  AND :as_of_time - look.opened_at > :days * 86400000
ORDER BY look.look_id
