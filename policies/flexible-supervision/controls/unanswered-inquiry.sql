-- id: unanswered-inquiry
-- title: Inquiries that the agency asked does not answer
-- title-zh: 被请求部门逾期未答复的协查
-- clause: flexible supervision rules, art. 7: the agency asked passes on what it found, or says why not
-- clause-zh: 柔性监管规则第七条：被请求部门应移送材料或说明理由
-- severity: medium
-- subject: inquiry_id
-- owner: asked
SELECT inquiry.inquiry_id AS inquiry_id,
       inquiry.asked AS asked,
       inquiry.owner AS asking,
       inquiry.company AS company,
       inquiry.legal_basis AS legal_basis,
       inquiry.asked_at AS asked_at
FROM flexible_supervision.inquiry AS inquiry
WHERE inquiry.state = 'asked'
  AND :as_of_time - inquiry.asked_at > :days * 86400000
ORDER BY inquiry.inquiry_id
